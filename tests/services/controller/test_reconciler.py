from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.catalog import Snapshot
from services.contracts.catalog_file import parse
from services.contracts.keeper import Instance
from services.controller.reconciler import Plan, Wanted, plan, wanted


def snapshot(text: str) -> Snapshot:
    return Snapshot(catalog=parse(text))


def after(running: tuple[Instance, ...], steps: Plan) -> tuple[Instance, ...]:
    return tuple(i for i in (*running, *steps.start) if i not in steps.stop)


def test_a_catalog_asks_for_the_edge_and_its_enabled_components() -> None:
    asked = wanted(
        snapshot("components:\n a: {kind: vision, replicas: {min: 2, max: 3}}\n b: {kind: vision, enabled: false}")
    )
    assert [(w.component, w.replicas) for w in asked] == [("gateway", 1), ("router", 1), ("a", 2)]


def test_a_chosen_number_of_replicas_stays_within_the_bounds() -> None:
    catalog = snapshot("components:\n a: {kind: vision, replicas: {min: 2, max: 3}}")
    assert [wanted(catalog, {"a": n})[-1].replicas for n in (0, 2, 3, 9)] == [2, 2, 3, 3]


def test_a_component_that_may_sleep_starts_awake_and_can_be_put_to_sleep() -> None:
    catalog = snapshot("components:\n a: {kind: vision, replicas: {min: 0, max: 3}}")
    assert wanted(catalog)[-1].replicas == 1
    assert wanted(catalog, {"a": 0})[-1].replicas == 0


def test_instances_are_numbered_from_one() -> None:
    steps = plan([Wanted("a", "vision", 2, "x")], ())
    assert [(i.name, i.generation) for i in steps.start] == [("a-1", 1), ("a-2", 1)]


def test_what_did_not_change_is_not_touched() -> None:
    before = snapshot("components:\n a: {kind: vision}\n b: {kind: retrieval}")
    running = plan(wanted(before), ()).start
    changed = snapshot("components:\n a: {kind: vision, replicas: {min: 1, max: 5}}\n b: {kind: retrieval, slots: 9}")
    steps = plan(wanted(changed), running)
    assert [i.component for i in steps.start] == [i.component for i in steps.stop] == ["b"]


def test_a_changed_component_gets_a_new_name_and_generation_beside_the_old_one() -> None:
    running = (Instance("a", "vision", "a-1", 1, "old"),)
    steps = plan([Wanted("a", "vision", 1, "new")], running)
    assert steps.stop == running
    assert [(i.name, i.generation) for i in steps.start] == [("a-2", 2)]
    assert [i.name for i in plan([Wanted("a", "vision", 1, "newer")], steps.start).start] == ["a-1"]


def test_scaling_keeps_the_generation_and_the_oldest_names() -> None:
    one = plan([Wanted("a", "vision", 1, "x")], ()).start
    three = after(one, plan([Wanted("a", "vision", 3, "x")], one))
    assert [(i.name, i.generation) for i in three] == [("a-1", 1), ("a-2", 1), ("a-3", 1)]
    assert [i.name for i in plan([Wanted("a", "vision", 1, "x")], three).stop] == ["a-2", "a-3"]


_WANTED = st.lists(
    st.builds(Wanted, st.sampled_from("abc"), st.just("vision"), st.integers(0, 4), st.sampled_from("xyz")),
    unique_by=lambda w: w.component,
)


@given(st.lists(_WANTED, min_size=1, max_size=4))
def test_any_sequence_of_plans_converges_on_the_last_one(history: list[list[Wanted]]) -> None:
    running: tuple[Instance, ...] = ()
    for desired in history:
        steps = plan(desired, running)
        together = (*running, *steps.start)
        assert len({i.name for i in together}) == len(together)
        running = after(running, steps)
    assert plan(history[-1], running) == Plan()
    for want in history[-1]:
        mine = [i for i in running if i.component == want.component]
        assert [i.fingerprint for i in mine] == [want.fingerprint] * want.replicas
