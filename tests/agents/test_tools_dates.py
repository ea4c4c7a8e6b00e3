from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.tools.dates import CannotDate, between, count, described, read, shifted, zone_of

TODAY = date(2024, 5, 15)


WRITTEN = """2024-07-04|4 July 2024|4th of July 2024|July 4, 2024|July 4th 2024|jul 4 2024|4 Jul. 2024|\
the 4th of July, 2024|Thursday, July 4, 2024|2024/7/4| 4  july  2024. |04/04/2024"""


@pytest.mark.parametrize("text", WRITTEN.split("|"))
def test_common_ways_to_write_a_date(text: str) -> None:
    wanted = date(2024, 4, 4) if text.startswith("04/") else date(2024, 7, 4)
    assert read(text, TODAY).date == wanted


def test_relative_days_and_missing_years() -> None:
    assert read("tomorrow", TODAY).date == date(2024, 5, 16)
    assert read("3 March", TODAY) == (date(2024, 3, 3), False)
    assert read("25/12/2024", TODAY).date == date(2024, 12, 25)


@pytest.mark.parametrize(
    "text",
    [
        "03/04/2024",
        "2024-02-30",
        "29 February 2023",
        "July",
        "2024",
        "32 May 2024",
        "someday",
        "",
        "0000-01-01",
        "4-7-2024",
    ],
)
def test_what_is_no_clear_date_is_refused(text: str) -> None:
    with pytest.raises(CannotDate):
        read(text, TODAY)


@given(st.dates(), st.dates())
def test_distance_is_that_of_the_calendar(start: date, end: date) -> None:
    assert between(start, end).startswith(f"{(end - start).days} day")
    assert start + timedelta(days=count(start, end, "days")) == end
    assert count(start, end, "months") == -count(end, start, "months")


@given(st.dates(date(1000, 1, 1), date(3000, 1, 1)), st.integers(0, 2000))
def test_counted_months_lead_back(start: date, months: int) -> None:
    moved = shifted(start, months, "months")
    assert moved.day in (start.day, moved.day)
    if moved.day == start.day:
        assert count(start, moved, "months") == months


def test_months_end_where_they_end() -> None:
    assert shifted(date(2024, 1, 31), 1, "months") == date(2024, 2, 29)
    assert shifted(date(2024, 2, 29), 1, "years") == date(2025, 2, 28)
    assert shifted(date(2024, 3, 31), -1, "months") == date(2024, 2, 29)
    for amount, unit in ((10**6, "years"), (-(10**7), "days"), (10**9, "weeks")):
        with pytest.raises(CannotDate):
            shifted(TODAY, amount, unit)  # type: ignore[arg-type]


def test_dates_before_the_reform_name_their_calendar() -> None:
    assert described(date(1776, 7, 4)) == "Thursday, 4 July 1776 (1776-07-04)"
    assert "Gregorian" in described(date(1066, 10, 14))


def test_zones_by_name_and_by_city() -> None:
    assert str(zone_of("Tokyo")) == "Asia/Tokyo"
    assert str(zone_of("new york")) == "America/New_York"
    assert str(zone_of("Europe/Paris")) == "Europe/Paris"
    assert zone_of("utc") is not None
    for nowhere in ("Springfield", "../../etc/passwd", "", "x" * 500):
        assert zone_of(nowhere) is None
