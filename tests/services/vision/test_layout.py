from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.events import ScreenLine
from services.vision.layout import reading_order, rows
from tests.support import screens

numbers = st.integers(min_value=0, max_value=2000)
sizes = st.integers(min_value=0, max_value=400)
boxes = st.builds(ScreenLine, st.text(max_size=3), numbers, numbers, sizes, sizes, st.floats(0, 1))


def drawn(screen: screens.Screen) -> list[ScreenLine]:
    return [ScreenLine(line.text, line.x, line.y, line.w, line.h, 1.0) for line in screen.lines]


def texts(lines: tuple[ScreenLine, ...]) -> list[str]:
    return [line.text for line in lines]


def line(text: str, x: int, y: int, w: int = 100, h: int = 20) -> ScreenLine:
    return ScreenLine(text, x, y, w, h, 1.0)


@settings(max_examples=150, deadline=None)
@given(st.lists(boxes, max_size=25), st.randoms(use_true_random=False))
def test_every_box_comes_once_and_the_order_given_does_not_matter(
    given_boxes: list[ScreenLine], random: object
) -> None:
    shuffled = list(given_boxes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object's subclass
    order = reading_order(given_boxes)
    assert sorted(order, key=repr) == sorted(given_boxes, key=repr)
    assert reading_order(shuffled) == order


@settings(max_examples=50, deadline=None)
@given(st.lists(boxes, max_size=25), st.integers(1, 500), st.integers(1, 500))
def test_moving_the_whole_screen_changes_nothing(given_boxes: list[ScreenLine], dx: int, dy: int) -> None:
    moved = [ScreenLine(b.text, b.x + dx, b.y + dy, b.w, b.h, b.confidence) for b in given_boxes]
    assert texts(reading_order(moved)) == texts(reading_order(given_boxes))


def test_no_boxes_no_lines() -> None:
    assert reading_order([]) == ()


def test_a_table_is_read_row_by_row() -> None:
    screen = screens.invoice()
    assert texts(reading_order(reversed(drawn(screen)))) == list(screen.texts)


def test_labels_stay_with_their_values() -> None:
    screen = screens.settings_window()
    assert texts(reading_order(reversed(drawn(screen)))) == list(screen.texts)


def test_prose_in_two_columns_is_read_column_by_column() -> None:
    screen = screens.two_columns()
    assert texts(reading_order(reversed(drawn(screen)))) == list(screen.texts)


def test_a_side_bar_that_does_not_line_up_is_read_before_the_text_beside_it() -> None:
    bar = [line(f"menu {n}", 10, 100 + 47 * n, 80) for n in range(5)]
    text = [line(f"text {n}", 200, 100 + 30 * n, 500 - 40 * (n % 3)) for n in range(8)]
    assert texts(reading_order(text + bar)) == texts(tuple(bar + text))


def test_a_side_bar_and_a_form_beside_it_are_told_apart() -> None:
    bar = [line(f"menu {n}", 10, 100 + 47 * n, 80) for n in range(5)]
    form = [line(f"{what} {n}", x, 100 + 34 * n, 60) for n in range(6) for what, x in (("label", 200), ("value", 400))]
    assert texts(reading_order(form + bar)) == texts(tuple(bar + form))


def test_a_crooked_row_is_still_a_row() -> None:
    crooked = [line("a", 0, 100), line("b", 200, 104), line("c", 400, 97)]
    assert [texts(tuple(row)) for row in rows(crooked)] == [["a", "b", "c"]]


def test_many_boxes_are_ordered_in_good_time() -> None:
    grid = [line(f"{x} {y}", x * 120, y * 30) for x in range(20) for y in range(100)]
    assert len(reading_order(grid)) == len(grid)
