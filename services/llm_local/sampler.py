"""Which token comes next: one `Chooser` per answer, on llama.cpp's own samplers.

The defaults are those of llama.cpp but for a lower temperature. Penalties look at what was generated, not at the
prompt.
"""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_cpp as llama
import numpy as np
import numpy.typing as npt

from services.contracts.errors import InternalError, InvalidRequest
from services.contracts.events import TokenLogprob
from services.contracts.messages import Sampling
from services.llm_local.native import Floats, Model, quick

DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_K = 40
DEFAULT_TOP_P = 0.95
DEFAULT_MIN_P = 0.05
MAX_TOP_LOGPROBS = 20
MAX_BIASES = 1024
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
_MAX_PENALTY_WINDOW = 8192
_NEAR = 256  # candidates checked against a grammar before the whole vocabulary is
_WIDER = 4096
_SEED_MASK = 0xFFFF_FFFF

PARAMS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "max_tokens",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
)

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@dataclass(frozen=True)
class Settings:
    """`Sampling` checked, with the defaults filled in."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int
    presence: float
    frequency: float
    repeat: float
    bias: dict[int, float] = field(default_factory=dict)

    @property
    def greedy(self) -> bool:
        """Whether the most likely token always wins."""
        return self.temperature <= 0 or self.top_k == 1

    @property
    def penalised(self) -> bool:
        """Whether what was generated weighs on what comes."""
        return self.presence != 0 or self.frequency != 0 or self.repeat != 1

    @property
    def plain(self) -> bool:
        """Whether the next token is simply the largest logit."""
        return self.greedy and not self.penalised and not self.bias


def check(sampling: Sampling, vocab_size: int) -> Settings:
    """The settings of a request.

    Raises:
        InvalidRequest: a number out of its range; names the parameter.
    """
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise InvalidRequest("`max_tokens` must be at least 1", param="max_tokens")
    if not 0 <= sampling.top_logprobs <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"`top_logprobs` must be from 0 to {MAX_TOP_LOGPROBS}", param="top_logprobs")
    if len(sampling.stop) > MAX_STOPS or any(not 0 < len(text) <= MAX_STOP_CHARS for text in sampling.stop):
        raise InvalidRequest(
            f"`stop` takes up to {MAX_STOPS} strings of 1 to {MAX_STOP_CHARS} characters", param="stop"
        )
    if len(sampling.logit_bias) > MAX_BIASES:
        raise InvalidRequest(f"`logit_bias` takes up to {MAX_BIASES} tokens", param="logit_bias")
    for token, bias in sampling.logit_bias.items():
        if not 0 <= token < vocab_size:
            raise InvalidRequest(f"`logit_bias`: this model has no token {token}", param="logit_bias")
        if not -100 <= bias <= 100:  # noqa: PLR2004 - OpenAI's range
            raise InvalidRequest("`logit_bias` must be from -100 to 100", param="logit_bias")
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & _SEED_MASK
    return Settings(
        temperature=_within("temperature", sampling.temperature, DEFAULT_TEMPERATURE, 0, 2),
        top_p=_within("top_p", sampling.top_p, DEFAULT_TOP_P, 0, 1),
        top_k=int(_within("top_k", sampling.top_k, DEFAULT_TOP_K, -1, 1_000_000)),
        min_p=_within("min_p", sampling.min_p, DEFAULT_MIN_P, 0, 1),
        seed=seed,
        presence=_within("presence_penalty", sampling.presence_penalty, 0, -2, 2),
        frequency=_within("frequency_penalty", sampling.frequency_penalty, 0, -2, 2),
        repeat=_within("repeat_penalty", sampling.repeat_penalty, 1, 0.01, 10),
        bias=dict(sampling.logit_bias),
    )


def _within(name: str, value: float | None, default: float, low: float, high: float) -> float:
    if value is None:
        return default
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidRequest(f"`{name}` must be from {low:g} to {high:g}", param=name)
    return value


class Constraint:
    """A grammar the answer must follow, and how far along it we are. Belongs to one thread at a time."""

    def __init__(self, model: Model, grammar: str) -> None:
        """Compile.

        Raises:
            InvalidRequest: llama.cpp refuses the grammar.
        """
        self._sampler: Any = None
        self._sampler = model.grammar(grammar)
        if self._sampler is None:
            raise InvalidRequest("the requested form cannot be made into a grammar", param="response_format")

    def allowed(self, tokens: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Which of these tokens may come next."""
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        array = _array_of(candidates)
        quick("llama_sampler_apply")(self._sampler, ctypes.byref(array))
        return np.asarray(candidates["logit"] == 0)

    def accept(self, token: int) -> None:
        """Go on by one token that is allowed; llama.cpp aborts the process on any other."""
        quick("llama_sampler_accept")(self._sampler, token)

    def try_accept(self, tokens: Sequence[int]) -> bool:
        """Go on by several tokens; False (and no further) as soon as one is not allowed."""
        for token in tokens:
            if not self.allowed(np.array([token], np.int32))[0]:
                return False
            self.accept(token)
        return True

    def close(self) -> None:
        """Free it."""
        if self._sampler is not None:
            quick("llama_sampler_free")(self._sampler)
            self._sampler = None

    def __del__(self) -> None:  # a request that was given up before it reached the engine
        self.close()


class Chooser:
    """Chooses the tokens of one answer."""

    def __init__(self, model: Model, settings: Settings, window: int, constraint: Constraint | None = None) -> None:
        self._model = model
        self._settings = settings
        self._chain: Any = None
        self.constraint = constraint
        self._chain = None if settings.greedy and not settings.penalised else _chain(model, settings, window)
        self._bias_tokens = np.fromiter(settings.bias.keys(), np.int64, len(settings.bias))
        self._bias_values = np.fromiter(settings.bias.values(), np.float32, len(settings.bias))

    @property
    def plain(self) -> bool:
        """Whether the largest logit is all there is to it, so that the caller may choose for many answers at once."""
        return self._settings.plain and self.constraint is None

    def choose(self, logits: Floats) -> int:
        """The next token, given the logits of the whole vocabulary.

        Raises:
            InternalError: the grammar leaves no token at all.
        """
        if len(self._bias_tokens):
            logits = logits.copy()
            logits[self._bias_tokens] += self._bias_values
        if self.constraint is None:
            token = int(logits.argmax()) if self._chain is None else self._sample(None, logits)
        else:
            token = self._choose_within(self.constraint, logits)
            self.constraint.accept(token)
        if self._chain is not None:
            quick("llama_sampler_accept")(self._chain, token)
        return token

    def remember(self, tokens: Sequence[int]) -> None:
        """Take tokens as chosen: penalties count them."""
        if self._chain is not None:
            for token in tokens:
                quick("llama_sampler_accept")(self._chain, token)

    def _choose_within(self, constraint: Constraint, logits: Floats) -> int:
        """Asking a grammar about every token of the vocabulary takes milliseconds, so the likely ones go first.

        For a greedy answer this changes nothing; a sampled one loses no more than a tail of unlikely tokens.
        """
        if self._chain is None:
            best = int(logits.argmax())
            if constraint.allowed(np.array([best], np.int32))[0]:
                return best
        for width in (_NEAR, _WIDER, len(logits)):
            if width < len(logits):
                tokens = np.argpartition(logits, -width)[-width:].astype(np.int32)
            else:
                tokens = np.arange(len(logits), dtype=np.int32)
            tokens = tokens[constraint.allowed(tokens)]
            if len(tokens):
                if self._chain is None:
                    return int(tokens[logits[tokens].argmax()])
                return self._sample(tokens, logits[tokens])
        raise InternalError("the grammar leaves no way to go on")

    def _sample(self, tokens: npt.NDArray[np.int32] | None, logits: Floats) -> int:
        candidates = np.zeros(len(logits), _CANDIDATE)
        candidates["id"] = np.arange(len(logits), dtype=np.int32) if tokens is None else tokens
        candidates["logit"] = logits
        array = _array_of(candidates)
        quick("llama_sampler_apply")(self._chain, ctypes.byref(array))
        if not 0 <= array.selected < array.size:
            raise InternalError("sampling chose nothing")
        return int(array.data[array.selected].id)

    def close(self) -> None:
        """Free the samplers."""
        if self._chain is not None:
            quick("llama_sampler_free")(self._chain)
            self._chain = None
        if self.constraint is not None:
            self.constraint.close()
            self.constraint = None

    def __del__(self) -> None:  # as above
        self.close()


def _array_of(candidates: npt.NDArray[Any]) -> Any:
    return llama.llama_token_data_array(
        data=candidates.ctypes.data_as(ctypes.POINTER(llama.llama_token_data)),
        size=len(candidates),
        selected=-1,
        sorted=False,
    )


def _chain(model: Model, settings: Settings, window: int) -> Any:
    """llama.cpp's usual order: penalties, then the cuts, then the temperature, then the dice."""
    params = llama.llama_sampler_chain_default_params()
    params.no_perf = True
    chain = llama.llama_sampler_chain_init(params)
    add = llama.llama_sampler_chain_add
    if settings.penalised:
        window = min(max(64, window), _MAX_PENALTY_WINDOW)
        penalties = llama.llama_sampler_init_penalties(
            model.vocab_size, window, settings.repeat, settings.frequency, settings.presence
        )
        add(chain, penalties)
    if settings.greedy:
        add(chain, llama.llama_sampler_init_greedy())
        return chain
    if settings.top_k > 0:
        add(chain, llama.llama_sampler_init_top_k(settings.top_k))
    if settings.top_p < 1:
        add(chain, llama.llama_sampler_init_top_p(settings.top_p, 1))
    if settings.min_p > 0:
        add(chain, llama.llama_sampler_init_min_p(settings.min_p, 1))
    add(chain, llama.llama_sampler_init_temp(settings.temperature))
    add(chain, llama.llama_sampler_init_dist(settings.seed))
    return chain


def logprob_of(model: Model, logits: Floats, token: int, top: int) -> TokenLogprob:
    """The log-probability of a token by the model itself, before temperature and cuts, and of its `top` rivals."""
    wide = logits.astype(np.float64)
    total = float(wide.max()) + math.log(float(np.exp(wide - wide.max()).sum()))
    best: tuple[tuple[str, float], ...] = ()
    if top:
        nearest = np.argpartition(wide, -top)[-top:]
        nearest = nearest[np.argsort(-wide[nearest], kind="stable")]
        best = tuple((_text(model, int(rival)), float(wide[rival]) - total) for rival in nearest)
    return TokenLogprob(_text(model, token), float(wide[token]) - total, best)


def _text(model: Model, token: int) -> str:
    return model.spellings[token].decode("utf-8", "replace")
