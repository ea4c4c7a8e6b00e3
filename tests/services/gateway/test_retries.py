"""Who asks the same again was not content: what counts as that, and how little it moves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from router.learning import Calibration, way
from services.contracts.draw import draw
from services.contracts.feedback import Feedback
from services.contracts.messages import ChatRequest, EmbedRequest, Message, Request, Sampling, Task
from services.gateway import retries
from services.gateway.retries import Retries

WINDOW_S = 120.0
FREE = Sampling()
_IDS = itertools.count()


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    """A gateway's side of conversations, with a clock of its own."""

    clock: Clock = field(default_factory=Clock)
    window_s: float = WINDOW_S

    def __post_init__(self) -> None:
        self.retries = Retries(self.clock)

    def ask(
        self,
        text: str = "why?",
        *,
        by: str = "small",
        tenant: str = "t",
        user: str = "",
        request: Request | None = None,
        answered: bool = True,
        prior: float | None = 0.7,
        takes_s: float = 1.0,
        sampling: Sampling = FREE,
    ) -> str:
        """Ask, and get an answer after a while; the id of its decision."""
        key = self.begin(text, tenant=tenant, user=user, request=request, sampling=sampling)
        self.clock.now_s += takes_s
        return self.end(key, by, answered=answered, prior=prior)

    def begin(
        self, text: str, *, tenant: str = "t", user: str = "", request: Request | None = None, sampling: Sampling = FREE
    ) -> bytes | None:
        chat = ChatRequest((Message("user", text),), sampling=sampling)
        task = Task("i", "i", "auto", request or chat, "", 0.0, tenant=tenant)
        return self.retries.asked(task, user, self.window_s)

    def end(self, key: bytes | None, by: str = "small", *, answered: bool = True, prior: float | None = 0.7) -> str:
        id_ = str(next(_IDS))
        answer = Feedback(id_, 0.0, (by,), "m", self.clock.now_s, prior, source="retried")
        self.retries.ended(key, answer if answered and prior is not None else None, self.window_s)
        return id_

    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    def verdicts(self) -> list[Feedback]:
        """What has been told once everything has come to rest."""
        self.wait(10 * WINDOW_S)
        return self.retries.take()

    def others(self, count: int = 40, by: str = "big") -> None:
        """The tenant's answers that nobody asked for again: retries mean something beside these only."""
        for number in range(count):
            self.ask(f"other {number}", by=by)
            self.wait(30)
        self.wait(10 * WINDOW_S)
        assert self.retries.take() == []


def test_who_asks_again_after_reading_speaks_against_the_answer() -> None:
    desk = Desk()
    desk.others()
    first = desk.ask()
    desk.wait(20)
    desk.ask(by="big")
    (verdict,) = desk.verdicts()
    assert (verdict.decision_id, verdict.steps, verdict.source) == (first, ("small",), "retried")
    assert verdict.quality < 0.7
    assert verdict.weight == retries.WEIGHT


def test_nothing_is_told_before_the_window_has_shown_who_asks() -> None:
    desk = Desk()
    desk.others()
    desk.ask()
    desk.wait(20)
    desk.ask()
    desk.wait(WINDOW_S - 1)
    assert desk.retries.take() == []
    desk.wait(2)
    assert len(desk.retries.take()) == 1


def test_a_conversation_that_goes_on_is_no_retry() -> None:
    desk = Desk()
    desk.others()
    turns = [Message("user", "why?"), Message("assistant", "because"), Message("user", "why?")]
    desk.ask()
    desk.wait(20)
    desk.ask(request=ChatRequest(tuple(turns)))
    assert desk.verdicts() == []


def test_the_results_of_tools_are_no_retry_of_the_question_before_them() -> None:
    desk = Desk()
    desk.others()
    turns = (Message("user", "why?"), Message("assistant"), Message("tool", "42", tool_call_id="1"))
    for _ in range(2):
        desk.ask(request=ChatRequest(turns))
        desk.wait(20)
    assert desk.verdicts() == []


def test_another_tenants_same_question_teaches_nothing() -> None:
    desk = Desk()
    desk.others()
    desk.ask()
    desk.wait(20)
    desk.ask(tenant="another")
    assert desk.verdicts() == []


def test_another_users_same_question_teaches_nothing() -> None:
    desk = Desk()
    desk.others()
    desk.ask(user="ann")
    desk.wait(20)
    desk.ask(user="bob")
    assert desk.verdicts() == []


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(seed=7)])
@pytest.mark.parametrize("which", [0, 1])
def test_who_wants_the_same_answer_each_time_teaches_nothing(sampling: Sampling, which: int) -> None:
    desk = Desk()
    desk.others()
    for number in range(2):
        desk.ask(sampling=sampling if number == which else FREE)
        desk.wait(20)
    assert desk.verdicts() == []


def test_sooner_than_anybody_reads_nobody_retries() -> None:
    desk = Desk()
    desk.others()
    desk.ask()
    desk.wait(retries.LEAST_S - 1)
    desk.ask()
    desk.wait(20)
    desk.ask()
    assert desk.verdicts() == []


def test_samples_of_one_question_at_a_time_teach_nothing() -> None:
    desk = Desk()
    desk.others()
    keys = [desk.begin("why?") for _ in range(2)]
    for key in keys:
        desk.wait(10)
        desk.end(key)
    desk.wait(20)
    desk.ask()
    assert desk.verdicts() == []


def test_after_the_window_it_is_a_new_question() -> None:
    desk = Desk()
    desk.others()
    desk.ask()
    desk.wait(WINDOW_S + 1)
    desk.ask()
    assert desk.verdicts() == []


def test_an_answer_that_did_not_come_to_its_end_is_not_judged() -> None:
    desk = Desk()
    desk.others()
    desk.ask(answered=False)
    desk.wait(20)
    desk.ask()
    assert desk.verdicts() == []


def test_who_asks_on_and_on_is_a_loop() -> None:
    desk = Desk()
    desk.others()
    for _ in range(retries.MOST_AGAIN + 2):
        desk.ask()
        desk.wait(30)
    assert desk.verdicts() == []


@pytest.mark.parametrize("pause_s", [1.0, 8.0, 25.0])
@pytest.mark.parametrize("questions", [3, 10, 100])
def test_a_batch_of_repeats_teaches_nothing(questions: int, pause_s: float) -> None:
    desk = Desk()
    desk.others()
    for _round in range(2):
        for number in range(questions):
            desk.ask(f"question {number}")
            desk.wait(pause_s)
    assert desk.verdicts() == []


def test_a_busy_programs_chance_repeats_teach_nothing() -> None:
    desk = Desk()
    desk.others()
    for number in range(300):
        desk.ask(f"question {int(60 * draw(str(number), 'which'))}", takes_s=0.5)
        desk.wait(2.0)
    assert desk.verdicts() == []


def test_who_was_a_program_may_be_a_reader_later() -> None:
    desk = Desk()
    desk.others()
    for number in range(40):
        desk.ask(f"question {number}")
    desk.wait(10 * WINDOW_S)
    desk.ask()
    desk.wait(20)
    desk.ask()
    assert len(desk.verdicts()) == 1


def test_a_choice_of_the_clients_own_teaches_nothing() -> None:
    desk = Desk()
    desk.others()
    desk.ask(prior=None)
    desk.wait(20)
    desk.ask()
    assert desk.verdicts() == []


def test_a_window_of_nothing_turns_it_off() -> None:
    desk = Desk(window_s=0.0)
    desk.ask()
    desk.wait(20)
    desk.ask()
    assert desk.verdicts() == []


def test_what_is_no_chat_is_not_watched() -> None:
    desk = Desk()
    assert desk.begin("", request=EmbedRequest(("a",))) is None


def test_where_there_is_one_way_only_nothing_is_compared() -> None:
    desk = Desk()
    for number in range(20):
        desk.ask(f"{number}")
        desk.wait(20)
        desk.ask(f"{number}")
        desk.wait(200)
    assert desk.verdicts() == []


def learnt(desk: Desk, by: str) -> float:
    known = Calibration(259_200.0, desk.clock)
    for verdict in desk.verdicts():
        known.learn(verdict)
    return known.offsets().get(way((by,), "m"), 0.0)


def test_one_retry_moves_the_calibration_less_than_a_clients_verdict() -> None:
    desk = Desk()
    desk.others()
    desk.ask()
    desk.wait(20)
    desk.ask(by="big")
    moved = learnt(desk, "small")
    client = Calibration(259_200.0, desk.clock)
    client.learn(Feedback("c", 0.0, ("small",), "m", desk.clock.now_s, 0.7))
    assert client.offsets()[way(("small",), "m")] * 0.25 < moved < 0


def test_a_way_that_is_asked_again_oftener_sinks_and_the_other_does_not() -> None:
    desk = Desk()
    for number in range(400):
        by = "small" if draw(str(number), "way") < 0.5 else "big"
        desk.ask(f"{number}", by=by)
        desk.wait(30)
        if draw(str(number), "again") < (0.3 if by == "small" else 0.05):
            desk.ask(f"{number}", by="big")
        desk.wait(130)
    verdicts = desk.verdicts()
    small, big = (sum(v.steps == (name,) for v in verdicts) for name in ("small", "big"))
    assert small > 30
    assert big < 3


@pytest.mark.parametrize(("small_prior", "big_prior"), [(0.7, 0.7), (0.5, 0.95)])
def test_repeats_by_chance_do_not_move_anybody(small_prior: float, big_prior: float) -> None:
    """Repeats that have nothing to do with the answer are spread as the answers are."""
    desk = Desk()
    known = Calibration(259_200.0, desk.clock)
    for number in range(3000):
        by, prior = ("small", small_prior) if draw(str(number), "way") < 0.8 else ("big", big_prior)
        desk.ask(f"{number}", by=by, prior=prior)
        desk.wait(30)
        if draw(str(number), "again") < 0.05:
            desk.ask(f"{number}", by=by, prior=prior)
        desk.wait(130)
        for verdict in desk.retries.take():
            known.learn(verdict)
    for name in ("small", "big"):
        assert abs(known.offsets().get(way((name,), "m"), 0.0)) < 0.15


def test_a_retry_never_praises() -> None:
    clock = Clock()
    known = Calibration(259_200.0, clock)
    for number in range(30):
        known.learn(Feedback(str(number), 0.0, ("small",), "m", clock.now_s, 0.7))
    before = dict(known.offsets())
    known.learn(Feedback("r", 0.65, ("small",), "m", clock.now_s, 0.7, source="retried", weight=0.25))
    assert known.offsets() == before


def test_what_it_keeps_is_bounded_and_holds_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_QUESTIONS", 8)
    monkeypatch.setattr(retries, "_ASKERS", 4)
    monkeypatch.setattr(retries, "_TENANTS", 2)
    desk = Desk()
    for number in range(50):
        desk.ask("a secret question", user=f"user {number}", tenant=f"tenant {number % 5}")
    held = desk.retries
    assert len(held._questions) == 8
    assert len(held._askers) == 4
    assert all(len(key) == 16 for key in held._questions)
    assert "secret" not in repr(vars(held))
    desk.wait(1000)
    desk.ask()
    desk.verdicts()
    assert len(held._tallies) <= 2
    assert not held._questions
