from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.llm_local.scheduler import (
    MAX_CHUNK_TOKENS,
    WHOLE_TOKENS,
    Lane,
    Speeds,
    chunks,
    common_prefix,
    place,
    prompt_budget,
    worth_copying,
)

COPY_LEAST = worth_copying(2048)
tokens = st.lists(st.integers(0, 2), max_size=40)


@given(tokens, tokens)
def test_common_prefix_is_the_longest(left: list[int], right: list[int]) -> None:
    count = common_prefix(left, right)
    assert left[:count] == right[:count]
    assert count == min(len(left), len(right)) or left[count] != right[count]


def test_last_prompt_token_is_always_computed() -> None:
    placement = place([1, 2, 3], [Lane(0, [1, 2, 3, 4])], copy_least=COPY_LEAST)
    assert placement is not None
    assert placement.keep == 2


def test_newcomer_continues_the_sequence_that_holds_its_beginning() -> None:
    lanes = [Lane(0, [9, 9, 9]), Lane(1, list(range(20))), Lane(2)]
    placement = place([*range(20), 77], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert (placement.sequence, placement.keep, placement.copy_from) == (1, 20, None)


def test_prefix_held_by_a_busy_sequence_is_copied() -> None:
    shared = list(range(COPY_LEAST + 10))
    lanes = [Lane(0, [*shared, 500], busy=True), Lane(1)]
    placement = place([*shared, 600], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert (placement.sequence, placement.keep, placement.copy_from) == (1, len(shared), 0)


def test_short_prefix_is_not_worth_a_copy() -> None:
    lanes = [Lane(0, [1, 2, 3, 4], busy=True), Lane(1)]
    placement = place([1, 2, 3, 5], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert (placement.sequence, placement.keep, placement.copy_from) == (1, 0, None)


def test_copying_a_larger_sequence_must_save_more() -> None:
    assert worth_copying(64) == 8 == worth_copying(2048)
    assert worth_copying(32_768) == 128


def test_sequences_that_cannot_be_copied_are_not() -> None:
    lanes = [Lane(0, list(range(500)), busy=True), Lane(1)]
    placement = place([*range(400), 7], lanes, copy_least=None)
    assert placement is not None
    assert (placement.sequence, placement.keep, placement.copy_from) == (1, 0, None)


def test_long_conversation_keeps_its_cells_when_only_its_beginning_is_shared() -> None:
    shared = list(range(100))
    lanes = [Lane(0, [*shared, *range(1000, 1500)], used_at=5), Lane(1, [7], used_at=9), Lane(2, [8], used_at=2)]
    placement = place([*shared, 42], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert (placement.sequence, placement.keep, placement.copy_from) == (2, 100, 0)


def test_nothing_shared_takes_an_empty_sequence_then_the_least_recently_used() -> None:
    lanes = [Lane(0, [1], used_at=1), Lane(1), Lane(2, [2], used_at=3)]
    first = place([9, 9], lanes, copy_least=COPY_LEAST)
    assert first is not None
    assert first.sequence == 1
    lanes[1].busy = True
    second = place([9, 9], lanes, copy_least=COPY_LEAST)
    assert second is not None
    assert second.sequence == 0


def test_newcomers_that_share_a_little_become_neighbours() -> None:
    system = list(range(30))
    lanes = [Lane(n, [*system, 100 + n, 7, 7], used_at=(n * 7) % 10 + 1) for n in range(10)]
    taken = []
    for number in range(6):
        placement = place([*system, 500 + number, 3], lanes, copy_least=COPY_LEAST)
        assert placement is not None
        assert placement.keep == 30
        taken.append(placement.sequence)
        lanes[placement.sequence].busy = True
    assert max(taken) - min(taken) == 5


def test_gap_between_busy_sequences_is_closed_first_unless_it_holds_a_long_text() -> None:
    lanes = [Lane(0, [1], busy=True), Lane(1, [2], used_at=9), Lane(2, [3], busy=True), Lane(3), Lane(4)]
    placement = place([8, 8], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert placement.sequence == 1
    lanes[1].tokens = list(range(1000, 1400))
    placement = place([8, 8], lanes, copy_least=COPY_LEAST)
    assert placement is not None
    assert placement.sequence == 3


def test_no_free_sequence_means_waiting() -> None:
    assert place([1], [Lane(0, busy=True)], copy_least=COPY_LEAST) is None


def test_prompt_work_gets_the_whole_batch_when_nobody_writes() -> None:
    assert prompt_budget(0, [900] * 3, 512, Speeds(0.01, 500)) == 512


def test_prompt_work_between_tokens_of_others_stays_within_twice_their_step() -> None:
    budget = prompt_budget(4, [1500], 512, Speeds(step_s=0.02, prefill_tps=500))
    assert budget / 500 <= 2 * 0.02
    assert budget >= 8


def test_many_waiting_for_their_first_token_weigh_more_than_few_writing() -> None:
    speeds = Speeds(0.01, 500)
    assert prompt_budget(1, [1500] * 15, 512, speeds) > 5 * prompt_budget(1, [1500], 512, speeds)


def test_crowd_that_one_batch_serves_is_read_at_once_and_long_prompts_are_not() -> None:
    speeds = Speeds(0.01, 500)
    assert prompt_budget(2, [30] * 14, 512, speeds) == 512
    assert prompt_budget(1, [1500] * 2, 512, speeds) < 30
    assert prompt_budget(8, [30] * 8, 512, speeds) < 30


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans()), max_size=20), st.integers(0, 600))
def test_chunks_keep_to_the_budget_and_serve_the_oldest_first(waiting: list[tuple[int, bool]], budget: int) -> None:
    shares = chunks(waiting, budget)
    assert sum(shares) <= budget + WHOLE_TOKENS
    assert all(share <= min(left, MAX_CHUNK_TOKENS) for share, (left, _) in zip(shares, waiting, strict=True))
    assert not waiting or budget == 0 or shares[0] > 0


def test_short_prompt_is_read_in_one_piece_and_the_end_of_a_long_one_is_not() -> None:
    assert chunks([(40, False)], 8) == [40]
    assert chunks([(40, True)], 8) == [8]
    assert chunks([(400, False)], 8) == [8]
