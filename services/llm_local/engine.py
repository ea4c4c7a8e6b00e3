"""The decode loop: schedule -> run -> postprocess, by one thread that owns the context.

Everything else talks to it through a queue, and hears from it through the event loop: one call for all answers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, replace

import structlog

from services.contracts.errors import ComponentTimeout, ComponentUnavailable, InternalError, TurnoutError
from services.contracts.events import Event, FinishReason
from services.llm_local.compaction import compaction
from services.llm_local.generation import Generation, Parcel
from services.llm_local.native import Context, Floats, Model
from services.llm_local.scheduler import Lane, Speeds, chunks, place, prompt_budget, worth_copying

log = structlog.get_logger()

_SMOOTHING = 0.1
_DEADLINE_MARGIN_S = 0.15
_MAX_FAILURES = 3
_JOIN_S = 10.0
_STUCK_S = 60.0
_FORESEEN_STEPS = 64  # most answers end before their `max_tokens`


@dataclass(frozen=True)
class Stats:
    """The engine as it was after its last step. Times are smoothed."""

    kv_used_ratio: float = 0.0
    prefix_hit_tokens: int = 0
    moved_sequences: int = 0
    prefill_tps: float = 0.0
    decode_tps: float = 0.0
    ttft_s: float = 0.0
    tpot_s: float = 0.0
    batch_occupancy: float = 0.0
    active: int = 0
    step_began_s: float = 0.0  # monotonic; 0: idle

    def facts(self) -> dict[str, float]:
        """What is worth showing."""
        return {
            "kv_used_ratio": self.kv_used_ratio,
            "prefix_hit_tokens": float(self.prefix_hit_tokens),
            "moved_sequences": float(self.moved_sequences),
            "prefill_tps": self.prefill_tps,
            "decode_tps": self.decode_tps,
            "ttft_s": self.ttft_s,
            "tpot_s": self.tpot_s,
            "batch_occupancy": self.batch_occupancy,
        }


@dataclass(frozen=True)
class _Cancel:
    generation: Generation


@dataclass(frozen=True)
class _Forget:
    done: asyncio.Future[list[str]]
    drop: bool


class Engine:
    """Runs generations. `submit` and `cancel` may be called from the event loop; the rest is the thread's own."""

    def __init__(self, model: Model, context: Context, *, slots: int, batch_tokens: int) -> None:
        self._model = model
        self._context = context
        self._slots = slots
        self._batch_tokens = batch_tokens
        self._inbox: queue.SimpleQueue[Generation | _Cancel | _Forget | None] = queue.SimpleQueue()
        self._lanes = [Lane(index) for index in range(context.sequences)]
        self._pending: deque[Generation] = deque()
        self._reading: list[Generation] = []
        self._writing: list[Generation] = []
        self._parcels: list[tuple[Generation, Parcel]] = []
        self._speeds = Speeds()
        self._uses = 0
        self._failures = 0
        self._copy_least: int | None = worth_copying(context.sequence_tokens)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._live, name="decode", daemon=True)
        self.stats = Stats()
        self.failure: str | None = None

    def start(self) -> None:
        """Begin. Call on the event loop that will consume the streams."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, generation: Generation) -> None:
        """Run this as soon as a sequence is free.

        Raises:
            ComponentUnavailable: the engine has failed.
        """
        if self.failure is not None:
            raise ComponentUnavailable(f"the engine has failed: {self.failure}")
        generation.submitted_s = time.monotonic()
        self._inbox.put(generation)

    def cancel(self, generation: Generation) -> None:
        """Free everything this holds within a step. One that has ended is no error."""
        self._inbox.put(_Cancel(generation))

    def trouble(self) -> str | None:
        """Why nobody should be sent here: the thread has ended, or one computation has lasted far too long."""
        if self.failure is not None:
            return f"the engine has failed: {self.failure}"
        began_s = self.stats.step_began_s
        if began_s and time.monotonic() - began_s > _STUCK_S:
            return f"a single step has lasted over {_STUCK_S:.0f} s"
        return None

    async def audit(self, *, drop: bool = False) -> list[str]:
        """Where our account of the cells differs from llama.cpp's; empty when all is well.

        Args:
            drop: also forget every cached prefix first.
        """
        done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._inbox.put(_Forget(done, drop))
        return await done

    def stop(self) -> None:
        """End the thread. Blocks for at most a step; what still runs is dropped."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    # The thread.

    def _live(self) -> None:
        try:
            while self._hear():
                self._admit()
                self._step()
                self._flush()
        except Exception as error:  # nothing above us would log it, and every waiting answer must hear of it
            log.exception("engine_failed")
            self.failure = type(error).__name__
            self._fail_all(ComponentUnavailable("the engine has failed; it is being restarted"))
            self._flush()
        finally:
            for generation in (*self._writing, *self._reading, *self._pending):
                generation.close()

    def _hear(self) -> bool:
        """Take what has come in; sleep while there is nothing to do. False: stop."""
        while True:
            idle = not (self._writing or self._reading or self._pending)
            if idle and self.stats.step_began_s:
                self.stats = replace(self.stats, active=0, step_began_s=0.0)
            try:
                message = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if message is None:
                return False
            if isinstance(message, Generation):
                self._pending.append(message)
            elif isinstance(message, _Cancel):
                self._drop(message.generation)
            else:
                self._answer_audit(message)

    def _hear_cancels(self) -> bool:
        """Between two chunks of prompt: see who has left. False: stop (and the message is put back)."""
        waiting: list[Generation | _Forget | None] = []
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, _Cancel):
                self._drop(message.generation)
            elif isinstance(message, Generation):
                self._pending.append(message)
            else:
                waiting.append(message)
        for left in waiting:
            self._inbox.put(left)
        return None not in waiting

    def _admit(self) -> None:
        """Give sequences to those that wait, in their order."""
        while self._pending:
            generation = self._pending[0]
            placement = place(generation.prompt, self._lanes, copy_least=self._copy_least)
            if placement is None:
                return
            self._pending.popleft()
            lane = self._lanes[placement.sequence]
            keep = placement.keep
            if placement.copy_from is not None:
                self._context.copy(placement.copy_from, lane.index)
                lane.tokens = list(self._lanes[placement.copy_from].tokens)
            if keep < len(lane.tokens) and not self._context.forget(lane.index, keep):
                # A recurrent model cannot take back a part of what it has read.
                self._context.forget(lane.index, 0)
                keep, self._copy_least = 0, None
            lane.tokens = generation.prompt[:keep]
            lane.busy = True
            generation.lane, generation.computed, generation.cached = lane.index, keep, keep
            self.stats = replace(self.stats, prefix_hit_tokens=self.stats.prefix_hit_tokens + keep)
            self._reading.append(generation)

    def _step(self) -> None:
        self.stats = replace(self.stats, active=len(self._writing) + len(self._reading), step_began_s=time.monotonic())
        budget = prompt_budget(len(self._writing), [g.left for g in self._reading], self._batch_tokens, self._speeds)
        try:
            if self._writing:
                self._compact()
                self._write()
                self._flush()
            self._read(budget)
            self._failures = 0
        except InternalError as error:
            self._failures += 1
            log.exception("step_failed", times=self._failures)
            self._fail_all(error)
            self._context.clear()
            for lane in self._lanes:
                lane.tokens, lane.busy = [], False
            if self._failures >= _MAX_FAILURES:
                raise

    def _compact(self) -> None:
        """Make those that write neighbours, where that pays."""
        if self._copy_least is None:
            return
        lefts = sorted(generation.max_tokens - generation.count for generation in self._writing)
        steps = min(_FORESEEN_STEPS, lefts[len(lefts) // 2])
        for move in compaction(self._lanes, steps, self._context.sequence_tokens):
            source, target = self._lanes[move.source], self._lanes[move.target]
            self._context.copy(source.index, target.index)
            target.tokens, target.busy, target.used_at = source.tokens, source.busy, source.used_at
            self._context.forget(source.index, 0)
            source.tokens, source.busy = [], False
            self.stats = replace(self.stats, moved_sequences=self.stats.moved_sequences + 1)
            for generation in (*self._writing, *self._reading):
                if generation.lane == source.index:
                    generation.lane = target.index

    def _write(self) -> None:
        """One token of every answer."""
        batch = sorted(self._writing, key=lambda generation: generation.lane)
        lanes = [self._lanes[generation.lane] for generation in batch]
        began_s = time.monotonic()
        logits = self._context.decode_step(
            [generation.last for generation in batch],
            [len(lane.tokens) for lane in lanes],
            [lane.index for lane in lanes],
        )
        for generation, lane in zip(batch, lanes, strict=True):
            lane.tokens.append(generation.last)
        best = logits.argmax(axis=1).tolist() if any(g.chooser.plain for g in batch) else []
        now_s = time.time()
        for row, generation in enumerate(batch):
            self._extend(generation, logits[row], best[row] if best and generation.chooser.plain else None, now_s)
        took_s = time.monotonic() - began_s
        self._speeds = replace(self._speeds, step_s=_smooth(self._speeds.step_s, took_s))
        stats = self.stats
        self.stats = replace(
            stats,
            tpot_s=_smooth(stats.tpot_s, took_s),
            decode_tps=_smooth(stats.decode_tps, len(batch) / took_s),
            batch_occupancy=_smooth(stats.batch_occupancy, len(batch) / self._slots),
            kv_used_ratio=self._kv_used_ratio(),
        )

    def _read(self, budget: int) -> None:
        """Some tokens of the prompts that wait, and the first token of the answers whose prompt is complete."""
        waiting = list(self._reading)
        shares = chunks([(g.left, g.computed > g.cached) for g in waiting], budget)
        for generation, share in zip(waiting, shares, strict=True):
            if share == 0 or generation.done:
                continue
            if time.time() > generation.deadline_s:
                self._end_badly(generation, ComponentTimeout("the deadline passed while the prompt was being read"))
                continue
            start = generation.computed
            part = generation.prompt[start : start + share]
            complete = start + share == len(generation.prompt)
            began_s = time.monotonic()
            self.stats = replace(self.stats, step_began_s=began_s)
            logits = self._context.prefill(part, start, generation.lane, last=complete)
            self._learn_prefill(share, time.monotonic() - began_s)
            self._lanes[generation.lane].tokens += part
            generation.computed += share
            if logits is not None:
                self._reading.remove(generation)
                self._writing.append(generation)
                waited_s = time.monotonic() - generation.submitted_s
                self.stats = replace(self.stats, ttft_s=_smooth(self.stats.ttft_s, waited_s))
                self._extend(generation, logits[0], None, time.time())
                self._flush()
            if not self._hear_cancels():
                return

    def _learn_prefill(self, tokens: int, took_s: float) -> None:
        tps = _smooth(self._speeds.prefill_tps, tokens / took_s)
        self._speeds = replace(self._speeds, prefill_tps=tps)
        self.stats = replace(self.stats, prefill_tps=tps, kv_used_ratio=self._kv_used_ratio())

    def _extend(self, generation: Generation, logits: Floats, token: int | None, now_s: float) -> None:
        """Choose the next token of one answer and tell what it makes."""
        try:
            chosen = generation.chooser.choose(logits) if token is None else token
            events, reason = generation.take(self._model, chosen, logits)
        except TurnoutError as error:  # of this answer alone: its grammar led nowhere
            self._end_badly(generation, error)
            return
        deadline = False
        if reason is None and now_s > generation.deadline_s - max(_DEADLINE_MARGIN_S, 2 * self._speeds.step_s):
            reason, deadline = "length", True
        if reason is not None:
            self._end(generation, events, reason, deadline=deadline)
        elif events:
            self._parcels.append((generation, Parcel(tuple(events), generation.usage)))

    def _end(self, generation: Generation, events: list[Event], reason: FinishReason, *, deadline: bool) -> None:
        parcel = Parcel((*events, *generation.end(reason, deadline=deadline)), generation.usage)
        self._parcels.append((generation, parcel))
        self._release(generation)

    def _end_badly(self, generation: Generation, error: TurnoutError) -> None:
        self._parcels.append((generation, Parcel((), generation.usage, error)))
        self._release(generation)

    def _fail_all(self, error: TurnoutError) -> None:
        for generation in (*self._writing, *self._reading, *self._pending):
            self._end_badly(generation, error)

    def _drop(self, generation: Generation) -> None:
        """Whoever wanted this has left."""
        if not generation.done:
            self._release(generation)

    def _release(self, generation: Generation) -> None:
        """Take it out, free its samplers; its sequence keeps what it has computed, for the next one to find."""
        generation.close()
        for group in (self._writing, self._reading, self._pending):
            if generation in group:
                group.remove(generation)
        if generation.lane >= 0:
            self._uses += 1
            lane = self._lanes[generation.lane]
            lane.busy, lane.used_at = False, self._uses

    def _answer_audit(self, message: _Forget) -> None:
        if message.drop:
            for lane in self._lanes:
                if not lane.busy:
                    self._context.forget(lane.index, 0)
                    lane.tokens = []
            self.stats = replace(self.stats, kv_used_ratio=self._kv_used_ratio())
        found = [
            f"sequence {lane.index} holds {held} cells and {len(lane.tokens)} are known"
            for lane in self._lanes
            if (held := self._context.held(lane.index)) != len(lane.tokens)
        ]
        in_use = {generation.lane for generation in (*self._writing, *self._reading)}
        found += [f"sequence {lane.index} is lost" for lane in self._lanes if lane.busy != (lane.index in in_use)]
        if self._loop is not None:
            self._loop.call_soon_threadsafe(_set, message.done, found)

    def _kv_used_ratio(self) -> float:
        used = sum([len(lane.tokens) for lane in self._lanes])
        return used / (len(self._lanes) * self._context.sequence_tokens)

    def _flush(self) -> None:
        """Hand over what the step has made: one call for all."""
        if self._parcels and self._loop is not None:
            parcels, self._parcels = self._parcels, []
            try:
                self._loop.call_soon_threadsafe(_deliver, parcels)
            except RuntimeError:
                log.info("nobody_listens", parcels=len(parcels))  # the event loop has ended before us


def _deliver(parcels: list[tuple[Generation, Parcel]]) -> None:
    for generation, parcel in parcels:
        generation.stream.put(parcel)


def _set(future: asyncio.Future[list[str]], value: list[str]) -> None:
    if not future.done():
        future.set_result(value)


def _smooth(before: float, now: float) -> float:
    return now if before == 0 else before + _SMOOTHING * (now - before)
