"""Who asks the same again, once the answer has been read, was not content with it. Pure but for one clock.

A chat's "regenerate" sends the same conversation again, a while after the answer has ended. So do tests, batches and
caches that expired, and those say nothing of the answer; what tells them apart shows only afterwards. So each question
is watched until nothing more has come of it for a window's length, and judged then. It counts nothing

- where the question came again sooner than anybody reads, while it was being answered, or again and again;
- where the same asker is a program, by its pace or by how many of its questions came again;
- where it wants the same answer each time: a seed, or a temperature of 0;
- where the answer did not come to its own end.

An answer that nobody asks for again is no praise, so what is counted is compared: how many of a way's answers were
asked for again, with how many should have been, had those been spread as the tenant's answers are, or as its bad
answers are by the predictor's word, whichever is more. A way that is asked again no oftener than that teaches nothing.
Else the quality told is the one at which its bad answers would be as many times more.

Nothing of a conversation is kept but a keyed hash, which nobody can compute in another process.

Source: the comparison is the standardised ratio of epidemiology (observed by expected cases), drawn towards 1 as in
Clayton and Kaldor, "Empirical Bayes estimates of age-standardized relative risks", 1987.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from services.contracts.feedback import Feedback
from services.contracts.messages import ChatRequest, Task, encode
from services.gateway.kept import kept

LEAST_S = 5.0
"""Sooner after the end of an answer nobody has read it."""
MOST_AGAIN = 3
"""Oftener in a row asks a loop, not a reader."""
MOST_QUESTIONS = 2
"""More different questions that come again within a window come from a program."""
MOST_REQUESTS = 20
"""So many requests of one asker within a window come from a program, or from many people under one name."""
WEIGHT = 0.25
"""Beside the word of a client."""
_PRIOR_CASES = 2.0
_QUESTIONS = 4096
_ASKERS = 4096
_TENANTS = 256
_WAYS = 64
_WAITING = 256  # verdicts that nobody has taken
_USER_CHARS = 512
_AGED = 4096.0  # answers; then the older ones count half


@dataclass(eq=False, slots=True)
class _Asker:
    """What shows whether somebody is a program. `program_until_s`: what was asked before then counts nothing."""

    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_REQUESTS))
    again_s: dict[bytes, float] = field(default_factory=dict)
    program_until_s: float = 0.0

    def asks(self, now_s: float, window_s: float) -> None:
        self.recent_s.append(now_s)
        if len(self.recent_s) == MOST_REQUESTS and now_s - self.recent_s[0] <= window_s:
            self.program_until_s = now_s + window_s

    def asks_again(self, question: bytes, now_s: float, window_s: float) -> None:
        self.again_s = {key: at_s for key, at_s in self.again_s.items() if now_s - at_s <= window_s}
        self.again_s[question] = now_s
        if len(self.again_s) > MOST_QUESTIONS:
            self.program_until_s = now_s + window_s
            self.again_s.clear()


@dataclass(eq=False, slots=True)
class _Question:
    """One conversation that waits for an answer, or for what comes after it.

    Attributes:
        until_s: nothing more can come of it after that.
        running: answers that are under way. last: the one that ended at `ended_s` and was not asked for again.
        left: the answers that were.
        spoilt: it was asked in a way in which no reader asks.
    """

    asker: _Asker
    tenant: str
    began_s: float
    until_s: float = 0.0
    running: int = 0
    last: Feedback | None = None
    ended_s: float = 0.0
    left: list[Feedback] = field(default_factory=list)
    spoilt: bool = False

    @property
    def tells(self) -> bool:
        return not self.spoilt and len(self.left) <= MOST_AGAIN and self.asker.program_until_s < self.began_s


@dataclass(slots=True)
class _Way:
    """How many answers of a way there were, how many of them should have been bad, and how many were asked again."""

    answers: float = 0.0
    bad: float = 0.0
    again: float = 0.0


class _Tally:
    """The ways that one tenant's questions have taken."""

    def __init__(self) -> None:
        self._ways: OrderedDict[tuple[tuple[str, ...], str], _Way] = OrderedDict()

    def add(self, answer: Feedback, *, again: bool) -> None:
        way = kept(self._ways, (answer.steps, answer.model), _Way, _WAYS)
        way.answers += 1
        way.bad += _bad(answer)
        way.again += again
        if sum(one.answers for one in self._ways.values()) >= _AGED:
            for one in self._ways.values():
                one.answers, one.bad, one.again = one.answers / 2, one.bad / 2, one.again / 2

    def excess(self, answer: Feedback) -> float:
        """How many times as often as expected the way of this answer is asked again."""
        way, ways = self._ways.get((answer.steps, answer.model), _Way()), self._ways.values()
        answers, bad = sum(one.answers for one in ways), sum(one.bad for one in ways)
        share = max(way.answers / answers if answers else 1.0, way.bad / bad if bad else 0.0)
        expected = share * sum(one.again for one in ways)
        return (way.again + _PRIOR_CASES) / (expected + _PRIOR_CASES)


class Retries:
    """The questions of one gateway that may still be asked again."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._key = secrets.token_bytes(32)
        self._questions: OrderedDict[bytes, _Question] = OrderedDict()  # by when something last came of them
        self._askers: OrderedDict[tuple[str, str], _Asker] = OrderedDict()
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        self._verdicts: list[Feedback] = []

    def asked(self, task: Task, user: str, window_s: float) -> bytes | None:
        """Note a question that is about to be put.

        Args:
            task: what is asked. user: who asks within the tenant, as far as the client tells.
            window_s: so long after its answer a question that comes again is a retry; 0: none is.

        Returns:
            What to call `ended` with.
        """
        request = task.request
        if window_s <= 0 or not isinstance(request, ChatRequest):
            return None
        now_s = self._clock_s()
        self._settle(now_s)
        asker = kept(self._askers, (task.tenant, user[:_USER_CHARS]), _Asker, _ASKERS)
        asker.asks(now_s, window_s)
        if request.messages[-1].role != "user":
            return None  # it goes on with what tools have said
        key = self._hash(task.tenant, user, request)
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = _Question(asker, task.tenant, now_s)
        elif question.running:
            question.spoilt = True
        elif question.last is not None:
            question.spoilt = question.spoilt or now_s - question.ended_s < LEAST_S
            question.left.append(question.last)
            question.last = None
            asker.asks_again(key, now_s, window_s)
        sampling = request.sampling
        question.spoilt = question.spoilt or sampling.temperature == 0 or sampling.seed is not None
        question.running += 1
        self._wait(key, question, now_s + window_s)
        if len(self._questions) > _QUESTIONS:
            self._questions.popitem(last=False)
        return key

    def ended(self, key: bytes | None, answer: Feedback | None, window_s: float) -> None:
        """Note how a question ended.

        Args:
            key: of `asked`. answer: what a verdict on it would name; None where there is nothing to judge.
            window_s: as in `asked`.
        """
        question = self._questions.get(key) if key is not None else None
        if key is None or question is None or not question.running:
            return
        question.running -= 1
        question.last, question.ended_s = answer, self._clock_s()
        self._wait(key, question, question.ended_s + window_s)

    def take(self) -> list[Feedback]:
        """The verdicts that have come due since they were last taken."""
        self._settle(self._clock_s())
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def _wait(self, key: bytes, question: _Question, until_s: float) -> None:
        question.until_s = until_s
        self._questions.move_to_end(key)

    def _settle(self, now_s: float) -> None:
        """Judge the questions that nothing more has come of."""
        while self._questions and next(iter(self._questions.values())).until_s < now_s:
            question = self._questions.popitem(last=False)[1]
            if question.tells:
                self._judge(question)

    def _judge(self, question: _Question) -> None:
        answers = question.left if question.last is None else [*question.left, question.last]
        tally = kept(self._tallies, question.tenant, _Tally, _TENANTS)
        for answer in answers:
            tally.add(answer, again=answer is not question.last)
        for answer in question.left:
            quality = 1 - tally.excess(answer) * _bad(answer)
            if quality < 1 - _bad(answer):
                self._verdicts.append(msgspec.structs.replace(answer, quality=max(0.0, quality), weight=WEIGHT))
        del self._verdicts[:-_WAITING]

    def _hash(self, tenant: str, user: str, request: ChatRequest) -> bytes:
        whole = Task("", "", user, ChatRequest(request.messages), "", 0.0, tenant=tenant)
        return hashlib.blake2b(encode(whole), digest_size=16, key=self._key).digest()


def _bad(answer: Feedback) -> float:
    """How probable it was, by the predictor's word, that the answer is bad."""
    return 0.0 if answer.prior is None else 1 - answer.prior
