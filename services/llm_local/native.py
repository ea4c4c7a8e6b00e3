"""llama.cpp as this package uses it: a model, a context with several sequences, and batches made of numpy arrays.

Every class here is thin; what to compute is decided elsewhere. All calls on a `Context` belong to one thread.

Calls that take microseconds go through a second handle of the library that keeps the interpreter's lock: releasing it
for each of them would let a busy event loop in between, at up to 5 ms a time.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

# Read once, when llama.cpp is loaded. Its threads wait for each other hundreds of times in a step, mostly for
# microseconds: they spin that long (waking a sleeper costs more), and then sleep (somebody else has the core).
# docs/engine.md has the figures. Whoever has set a policy gets it.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

import llama_cpp as llama
import numpy as np
import numpy.typing as npt
import structlog
from llama_cpp import llama_cpp as bindings

from services.contracts.errors import ConfigError, InternalError

log = structlog.get_logger()

Floats = npt.NDArray[np.float32]

POOLING_NONE = 0
_LOG_LEVELS = {3: "warning", 4: "error"}  # ggml_log_level; the rest is chatter
_CONTROL = 8  # llama_token_attr: LLAMA_TOKEN_ATTR_CONTROL
_USER_DEFINED = 16  # LLAMA_TOKEN_ATTR_USER_DEFINED
_PIECE_BYTES = 512
_SHOWN = (b"<tool_call>", b"</tool_call>")  # some models have them as control tokens; the tool parser wants to see them


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes has no types for it
def _on_log(level: int, text: bytes, _user: object) -> None:
    name = _LOG_LEVELS.get(level)
    if name is not None:
        getattr(log, name)("llama_cpp", text=text.decode("utf-8", "replace").strip())


@cache
def _locked() -> Any:
    """The library through a handle that keeps the interpreter's lock. For calls of microseconds only."""
    shared = bindings._lib  # noqa: SLF001 - the handle has no public name
    return ctypes.PyDLL(shared._name, handle=shared._handle)  # noqa: SLF001


@cache
def quick(name: str) -> Any:
    """A function of llama.cpp, by name, that runs without releasing the interpreter's lock."""
    typed = getattr(llama, name)
    function = getattr(_locked(), name)
    function.argtypes, function.restype = typed.argtypes, typed.restype
    return function


@cache
def _start_backend() -> None:
    llama.llama_log_set(_on_log, None)
    llama.llama_backend_init()
    folder = Path(bindings._lib._name).parent  # noqa: SLF001 - the path has no public name
    if any(folder.glob("libggml-cpu-*")):
        # Built for any processor: the code for this one is chosen now. It is looked for beside the interpreter
        # unless a folder is named.
        ctypes.CDLL(str(folder / "libggml.so")).ggml_backend_load_all_from_path(str(folder).encode())


class Model:
    """The weights and the vocabulary of one GGUF file. Safe to use from several threads.

    Attributes:
        pieces: bytes of every token, as text that a client may see (control tokens are empty).
        spellings: bytes of every token, control tokens included.
        special: the spellings of tokens that must never be made out of a user's text.
    """

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            ConfigError: llama.cpp cannot read it.
        """
        _start_backend()
        self._handle = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        if not self._handle:
            raise ConfigError(f"{path}:1: llama.cpp cannot load this model; its log above says why")
        self.vocab = llama.llama_model_get_vocab(self._handle)
        self.vocab_size = int(llama.llama_vocab_n_tokens(self.vocab))
        self.trained_context_tokens = int(llama.llama_model_n_ctx_train(self._handle))
        self.width = int(llama.llama_model_n_embd(self._handle))
        self.has_decoder = bool(llama.llama_model_has_decoder(self._handle))
        self.has_encoder = bool(llama.llama_model_has_encoder(self._handle))
        self.bos = int(llama.llama_vocab_bos(self.vocab))
        self.eos = int(llama.llama_vocab_eos(self.vocab))
        self.add_bos = bool(llama.llama_vocab_get_add_bos(self.vocab))
        self._read_vocabulary()

    def _read_vocabulary(self) -> None:
        attr_of, is_eog = quick("llama_vocab_get_attr"), quick("llama_vocab_is_eog")
        control = [bool(attr_of(self.vocab, token) & _CONTROL) for token in range(self.vocab_size)]
        defined = [bool(attr_of(self.vocab, token) & _USER_DEFINED) for token in range(self.vocab_size)]
        self.spellings = tuple(self._spelling(token) for token in range(self.vocab_size))
        self.pieces = tuple(
            b"" if control[token] and spelling not in _SHOWN else spelling
            for token, spelling in enumerate(self.spellings)
        )
        self.ends = frozenset(token for token in range(self.vocab_size) if is_eog(self.vocab, token))
        self.longest_piece_bytes = max(1, *(len(piece) for piece in self.spellings))
        self.special = tuple(
            sorted(
                {
                    self.spellings[token].decode("utf-8", "replace")
                    for token in range(self.vocab_size)
                    if (control[token] or (defined[token] and self.spellings[token].startswith(b"<")))
                    and len(self.spellings[token]) > 1
                },
                key=len,
                reverse=True,
            )
        )

    def _spelling(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        length = quick("llama_token_to_piece")(self.vocab, token, buffer, _PIECE_BYTES, 0, True)
        return buffer.raw[: max(0, length)]

    @property
    def template(self) -> str | None:
        """The chat template inside the GGUF."""
        text = llama.llama_model_chat_template(self._handle, None)
        return text.decode("utf-8", "replace") if text else None

    def tokenize(self, text: str, *, special: bool, framed: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: any.
            special: the spelling of a control token becomes that token.
            framed: with the control tokens around it that the model was trained with, such as [CLS] and [SEP].
        """
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 8
        tokens = np.empty(capacity, np.int32)
        pointer = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        count = llama.llama_tokenize(self.vocab, data, len(data), pointer, capacity, framed, special)
        if count < 0:
            raise InternalError("the tokenizer made more tokens than the text has bytes")
        result: list[int] = tokens[:count].tolist()
        return result

    def new_context(
        self, *, sequences: int, context_tokens: int, batch_tokens: int, threads: int, embeddings: bool
    ) -> Context:
        """A context with `sequences` separate sequences of `context_tokens` each.

        Raises:
            ConfigError: there is not enough memory for it.
        """
        params = llama.llama_context_default_params()
        params.n_ctx = context_tokens * sequences
        params.n_batch = params.n_ubatch = batch_tokens
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        # Each sequence has cells of its own: what it computes cannot depend on where others have put theirs.
        params.kv_unified = False
        params.embeddings = embeddings
        params.no_perf = True
        handle = llama.llama_init_from_model(self._handle, params)
        if not handle:
            raise ConfigError(
                f"not enough memory for {sequences} sequences of {context_tokens} tokens: "
                "lower `slots` or `context_tokens`"
            )
        return Context(self, handle, batch_tokens, sequences)

    def adapter(self, path: Path) -> Any:
        """Load a LoRA adapter for this model. It is freed with the model.

        Raises:
            ConfigError: llama.cpp cannot read it, or it was made for another model.
        """
        found = llama.llama_adapter_lora_init(self._handle, str(path).encode())
        if not found:
            raise ConfigError(f"{path}: no adapter for this model; the log above says why")
        if llama.llama_adapter_get_alora_n_invocation_tokens(found):
            raise ConfigError(f"{path}: an adapter that is switched on by words in the prompt (aLoRA) cannot be served")
        return found

    def grammar(self, text: str) -> Any:
        """A grammar sampler, or None if llama.cpp cannot parse `text`. The caller frees it."""
        found = llama.llama_sampler_init_grammar(self.vocab, text.encode(), b"root")
        return found or None

    def close(self) -> None:
        """Free the weights. No context may be left."""
        if self._handle:
            llama.llama_model_free(self._handle)
            self._handle = None


class Context:
    """The KV cache and the compute buffers. One thread only."""

    def __init__(self, model: Model, handle: Any, batch_tokens: int, sequences: int) -> None:
        self.model = model
        self.handle = handle
        self.sequences = sequences
        self.batch_tokens = batch_tokens
        self.sequence_tokens = int(llama.llama_n_ctx_seq(handle))
        self._memory = llama.llama_get_memory(handle)
        self._get_logits = quick("llama_get_logits")
        self._seen: tuple[tuple[int, int], Floats] | None = None
        self._tokens = np.zeros(batch_tokens, np.int32)
        self._positions = np.zeros(batch_tokens, np.int32)
        self._owners = np.zeros(batch_tokens, np.int32)
        self._wanted = np.zeros(batch_tokens, np.int8)
        self._ones = np.ones(batch_tokens, np.int32)
        first = self._owners.ctypes.data
        self._owner_pointers = np.arange(first, first + 4 * batch_tokens, 4, dtype=np.uintp)
        self._batch = llama.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=self._owner_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def lay_over(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Compute with these adapters and scales from now on. What the sequences hold must have been forgotten.

        Raises:
            ConfigError: llama.cpp refuses them.
        """
        handles = (llama.llama_adapter_lora_p_ctypes * len(adapters))(*(handle for handle, _ in adapters))
        scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
        if llama.llama_set_adapters_lora(self.handle, handles, len(adapters), scales) != 0:
            raise ConfigError("llama.cpp does not take these adapters together")

    @property
    def pooling(self) -> int:
        """The pooling type; `POOLING_NONE` if the model makes no embeddings."""
        return int(llama.llama_pooling_type(self.handle))

    def decode_step(self, tokens: Sequence[int], positions: Sequence[int], owners: Sequence[int]) -> Floats:
        """One token of each of several sequences; returns their logits, [sequences, vocabulary].

        The array is llama.cpp's own memory: valid until the next call.

        Raises:
            InternalError: llama.cpp failed; what the sequences hold is then unknown.
        """
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._owners[:count] = owners
        self._wanted[:count] = 1
        self._run(count)
        return self._logits(count)

    def prefill(self, tokens: Sequence[int], start: int, owner: int, *, last: bool) -> Floats | None:
        """Some tokens of one sequence from position `start`; with `last`, returns the logits after the last one.

        Raises:
            InternalError: llama.cpp failed.
        """
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(start, start + count)
        self._owners[:count] = owner
        self._wanted[:count] = 0
        self._wanted[count - 1] = last
        self._run(count)
        return self._logits(1) if last else None

    def embed(self, tokens: Sequence[int]) -> Floats:
        """The pooled vector of one text, not normalised, [width]."""
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(count)
        self._owners[:count] = 0
        self._wanted[:count] = 1
        self._run(count)
        found = llama.llama_get_embeddings_seq(self.handle, 0)
        if not found:
            raise InternalError("the model returned no embedding")
        vector = np.ctypeslib.as_array(found, (self.model.width,)).copy()
        self.forget(0, 0)
        return vector

    def _run(self, count: int) -> None:
        self._batch.n_tokens = count
        code = llama.llama_decode(self.handle, self._batch)
        if code != 0:
            raise InternalError(f"llama.cpp could not compute a step (code {code})")

    def _logits(self, rows: int) -> Floats:
        found = self._get_logits(self.handle)
        place = (ctypes.addressof(found.contents), rows)
        if self._seen is None or self._seen[0] != place:  # llama.cpp rarely moves it, and making a view takes its time
            self._seen = place, np.ctypeslib.as_array(found, (rows, self.model.vocab_size))
        return self._seen[1]

    def forget(self, sequence: int, start: int) -> bool:
        """Drop a sequence's cells from position `start` on. False if the model's memory cannot be cut there."""
        return bool(quick("llama_memory_seq_rm")(self._memory, sequence, start if start > 0 else -1, -1))

    def copy(self, source: int, target: int) -> None:
        """Make `target` hold what `source` holds. The cells themselves are copied before the next step."""
        quick("llama_memory_seq_rm")(self._memory, target, -1, -1)
        quick("llama_memory_seq_cp")(self._memory, source, target, -1, -1)

    def held(self, sequence: int) -> int:
        """How many positions a sequence holds, by llama.cpp's own account."""
        return int(quick("llama_memory_seq_pos_max")(self._memory, sequence)) + 1

    def clear(self) -> None:
        """Drop everything."""
        llama.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the memory."""
        if self.handle:
            llama.llama_free(self.handle)
            self.handle = None


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def breaker(spellings: Iterable[str], mark: str) -> tuple[re.Pattern[str], str]:
    """A pattern and its replacement that put `mark` after the first character of every special spelling in a text."""
    any_of = "|".join(re.escape(spelling) for spelling in spellings)
    return re.compile(f"(?=(?:{any_of}))(.)", re.DOTALL), rf"\g<1>{mark}"
