"""Greedy answers for many prompts at once: one decode step serves every prompt in flight."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_STEP_TOKENS = 256


class Answered(NamedTuple):
    """One answer. `odds`: of each token the log-probability, and by how much it was ahead of the next likely one."""

    key: Any
    text: str
    tokens: int
    odds: tuple[tuple[float, float], ...]


@dataclass
class _Stream:
    key: Any
    prompt: list[int]
    room: int
    done: int = 0
    out: list[int] = field(default_factory=list)
    odds: list[tuple[float, float]] = field(default_factory=list)


class BatchedModel:
    """A GGUF model that answers `streams` prompts side by side, each in its own sequence of one KV cache."""

    def __init__(self, path: Path, *, streams: int = 16, context_tokens: int = 768, threads: int = 2) -> None:
        import llama_cpp  # noqa: PLC0415 - training does not need it

        self._lib = llama_cpp
        self._streams = streams
        self._context_tokens = context_tokens
        llama_cpp.llama_backend_init()
        # Kept: the library's log callback must outlive the model.
        self._quiet = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise FileNotFoundError(f"{path} is not a GGUF model that llama.cpp can load")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context_tokens * streams
        params.n_batch = params.n_ubatch = _STEP_TOKENS
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._batch = llama_cpp.llama_batch_init(_STEP_TOKENS, 0, 1)

    def render(self, messages: list[dict[str, str]]) -> list[int]:
        """The prompt's tokens by the model's own chat template."""
        lib = self._lib
        template = lib.llama_model_chat_template(self._model, None).decode()
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # noqa: PLC0415 - see __init__

        text = Jinja2ChatFormatter(template=template, eos_token="", bos_token="")(messages=messages).prompt.encode()
        tokens = (lib.llama_token * (len(text) + 8))()
        count = lib.llama_tokenize(self._vocab, text, len(text), tokens, len(tokens), False, True)
        return list(tokens[:count])

    def answers(self, asked: Iterable[tuple[Any, list[dict[str, str]], int]]) -> Iterator[Answered]:
        """The answer to each (key, messages, most tokens), in the order in which they are complete."""
        waiting = iter(asked)
        active: dict[int, _Stream] = {}
        while True:
            for slot in range(self._streams):
                if slot not in active and (nxt := next(waiting, None)) is not None:
                    key, messages, room = nxt
                    prompt = self.render(messages)[-(self._context_tokens - room) :]
                    self._lib.llama_memory_seq_rm(self._lib.llama_get_memory(self._context), slot, -1, -1)
                    active[slot] = _Stream(key, prompt, room)
            if not active:
                return
            for slot in self._step(active):
                stream = active.pop(slot)
                yield Answered(stream.key, self._text(stream.out), len(stream.out), tuple(stream.odds))

    def _step(self, active: dict[int, _Stream]) -> list[int]:
        """One decode over all streams, prompts by pieces; returns the slots that are complete."""
        batch, used, ends = self._batch, 0, {}
        for slot, stream in active.items():
            tokens = stream.out[-1:] if stream.out else stream.prompt[stream.done :]
            fair = _STEP_TOKENS - used - (0 if stream.out else self._streams)
            for token in tokens[: max(fair, 0)]:
                batch.token[used], batch.pos[used] = token, stream.done
                batch.n_seq_id[used], batch.seq_id[used][0], batch.logits[used] = 1, slot, False
                stream.done += 1
                used += 1
            if stream.done == len(stream.prompt) + len(stream.out) and tokens:
                batch.logits[used - 1] = True
                ends[slot] = used - 1
        batch.n_tokens = used
        if self._lib.llama_decode(self._context, batch) != 0:
            raise MemoryError("the KV cache is full: fewer streams, or a larger context")
        complete = []
        for slot, at in ends.items():
            stream = active[slot]
            logits = np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, at), (self._n_vocab,))
            token = int(logits.argmax())
            if self._lib.llama_vocab_is_eog(self._vocab, token):
                complete.append(slot)
                continue
            stream.out.append(token)
            stream.odds.append(_odds(logits, token))
            if len(stream.out) >= stream.room:
                complete.append(slot)
        return complete

    def _text(self, tokens: list[int]) -> str:
        pieces, buffer = [], ctypes.create_string_buffer(256)
        for token in tokens:
            size = self._lib.llama_token_to_piece(self._vocab, token, buffer, 256, 0, False)
            pieces.append(buffer.raw[: max(size, 0)])
        return b"".join(pieces).decode("utf-8", "replace")


def _odds(logits: Any, token: int) -> tuple[float, float]:
    best = float(logits[token])
    wide = logits.astype(np.float64) - best
    wide[token] = -np.inf
    return -float(np.log1p(np.exp(wide).sum())), -float(wide.max())
