"""The local model as a `Service`: loads a GGUF, answers chats from the decode engine, embeds where the model can."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog

from services.contracts.beat import Capability
from services.contracts.catalog import Adapter, LlmLocal
from services.contracts.errors import (
    ComponentUnavailable,
    ConfigError,
    ContextLengthExceeded,
    InvalidRequest,
    Unsupported,
)
from services.contracts.events import Embedded, Event, Finished
from services.contracts.messages import ChatRequest, EmbedRequest, Task
from services.contracts.price import Price
from services.llm_local import gguf
from services.llm_local.engine import Engine
from services.llm_local.generation import Generation
from services.llm_local.native import POOLING_NONE, Context, Model
from services.llm_local.prepare import Preparer
from services.llm_local.sampler import PARAMS
from services.llm_local.source import cache_dir, resolve
from services.llm_local.template import ChatTemplate
from services.worker.service import Description, Job, Surroundings

log = structlog.get_logger()

_SWITCH_S = 0.001
_INLINE_CHARS = 4_000  # a larger request is prepared beside the event loop


class LocalModel:
    """One GGUF model."""

    def __init__(self, spec: LlmLocal, around: Surroundings) -> None:
        self._spec = spec
        self._base_dir = Path(around.base_dir)
        self._price = spec.price.to_price() if spec.price else Price()
        self._name = spec.source
        self._model: Model | None = None
        self._context: Context | None = None
        self._adapters: list[tuple[Any, float]] = []
        self._engine: Engine | None = None
        self._preparer: Preparer | None = None
        self._embedding = asyncio.Lock()
        self._capabilities: tuple[Capability, ...] = ()
        self._context_tokens = spec.context_tokens

    @property
    def engine(self) -> Engine:
        """The decode engine, once started.

        Raises:
            ComponentUnavailable: not started, or a model that only embeds.
        """
        if self._engine is None:
            raise ComponentUnavailable("this component does not chat")
        return self._engine

    async def start(self) -> None:
        """Find, check and load the model, beside the event loop, so that heartbeats go on.

        Raises:
            ConfigError: wrong file, wrong digest, not enough memory, a template that is not trusted.
        """
        # The decode thread takes the interpreter's lock back after every step; it must not wait 5 ms for it.
        sys.setswitchinterval(_SWITCH_S)
        await asyncio.to_thread(self._load)
        if self._engine is not None:
            self._engine.start()

    def _load(self) -> None:
        spec = self._spec
        path = resolve(spec.source, spec.sha256, self._base_dir, cache_dir())
        header = gguf.check(path)
        model = self._model = Model(path)
        self._name = "+".join((path.stem, *(self._lay_over(model, adapter) for adapter in spec.adapters)))
        self._context_tokens = min(spec.context_tokens, model.trained_context_tokens)
        if self._context_tokens < spec.context_tokens:
            log.warning("context_limited", asked=spec.context_tokens, trained=self._context_tokens)
        threads = spec.threads or usable_cores()
        # A sequence for each slot and some to spare, which hold prefixes while the slots are busy.
        sequences = spec.slots + max(1, spec.slots // 4)
        context = self._context = self._new_context(model, sequences, threads)
        if context.pooling != POOLING_NONE:
            context.close()
            context = self._context = model.new_context(
                sequences=1,
                context_tokens=self._context_tokens,
                batch_tokens=self._context_tokens,
                threads=threads,
                embeddings=True,
            )
            context.lay_over(self._adapters)
            self._capabilities = ("embed",)
        else:
            bos = model.spellings[model.bos].decode("utf-8", "replace") if model.bos >= 0 else ""
            eos = model.spellings[model.eos].decode("utf-8", "replace") if model.eos >= 0 else ""
            template = ChatTemplate(model.template, bos=bos, eos=eos)
            self._preparer = Preparer(model, template, self._context_tokens, spec.system)
            self._engine = Engine(model, context, slots=spec.slots, batch_tokens=spec.batch_tokens)
            self._capabilities = ("chat", "tools", "json", "logprobs", "resume")
        log.info("model_loaded", file=path.name, architecture=header.architecture, threads=threads, slots=spec.slots)

    def _new_context(self, model: Model, sequences: int, threads: int) -> Context:
        context = model.new_context(
            sequences=sequences,
            context_tokens=self._context_tokens,
            batch_tokens=max(self._spec.batch_tokens, sequences),
            threads=threads,
            embeddings=False,
        )
        context.lay_over(self._adapters)
        return context

    def _lay_over(self, model: Model, adapter: Adapter) -> str:
        """Load an adapter; returns what a model is called after it: one that counts otherwise makes another model.

        Raises:
            ConfigError: as for a model.
        """
        try:
            path = resolve(adapter.source, adapter.sha256, self._base_dir, cache_dir())
            gguf.check(path)
            self._adapters.append((model.adapter(path), adapter.scale))
        except ConfigError as error:
            raise ConfigError(f"adapters: {error.message}") from error
        return path.stem if adapter.scale == 1 else f"{path.stem}*{adapter.scale:g}"

    def describe(self) -> Description:
        """What it can do, and its speed now."""
        engine = self._engine
        failed = engine.trouble() if engine is not None else None
        return Description(
            model=self._name,
            capabilities=self._capabilities,
            params=PARAMS if engine is not None else (),
            context_tokens=self._context_tokens,
            price=self._price,
            facts=engine.stats.facts() if engine is not None else {},
            state="failed" if failed else "ready",
            detail=failed or "",
        )

    async def run(self, task: Task, job: Job) -> AsyncIterator[Event]:
        """Answer a chat, or embed texts.

        Raises:
            TurnoutError: what is wrong with the request, or with us.
        """
        request = task.request
        if isinstance(request, EmbedRequest):
            yield await self._embed(request, job)
            yield Finished(job.spent)
            return
        if not isinstance(request, ChatRequest):
            raise Unsupported(f"a local language model cannot do {type(request).__name__}")
        generation = await self._prepare(request, task.deadline_s)
        engine = self.engine
        try:
            engine.submit(generation)
            while True:
                parcel = await generation.stream.next()
                job.spent = parcel.usage
                if parcel.error is not None:
                    raise parcel.error
                for event in parcel.events:
                    yield event
                    if isinstance(event, Finished):
                        return
        finally:
            engine.cancel(generation)

    async def _prepare(self, request: ChatRequest, deadline_s: float) -> Generation:
        if self._preparer is None:
            raise Unsupported("this model makes embeddings; it does not chat")
        size = sum(len(message.text) for message in request.messages)
        if size < _INLINE_CHARS and not request.tools and request.response_format.type == "text":
            return self._preparer.generation(request, deadline_s)
        return await asyncio.to_thread(self._preparer.generation, request, deadline_s)

    async def _embed(self, request: EmbedRequest, job: Job) -> Embedded:
        """Vectors of length 1, one per text."""
        if self._engine is not None or self._model is None or self._context is None:
            raise Unsupported("this model has no pooling layer; it makes no embeddings")
        model, context = self._model, self._context
        if not request.inputs:
            raise InvalidRequest("`input` must not be empty", param="input")
        vectors: list[bytes] = []
        for text in request.inputs:
            tokens = await asyncio.to_thread(model.tokenize, text, special=False, framed=True)
            if len(tokens) > self._context_tokens:
                raise ContextLengthExceeded(
                    f"a text has {len(tokens)} tokens; this model's context is {self._context_tokens} tokens",
                    param="input",
                )
            async with self._embedding:
                vector = await asyncio.to_thread(context.embed, tokens)
            length = float(np.linalg.norm(vector))
            vectors.append((vector / length if length else vector).astype("<f4").tobytes())
            job.spent = msgspec.structs.replace(job.spent, input_tokens=job.spent.input_tokens + len(tokens))
        return Embedded(tuple(vectors), model.width)

    async def stop(self) -> None:
        """End the thread and free the memory."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop)
        if self._context is not None:
            self._context.close()
        if self._model is not None:
            self._model.close()


def usable_cores() -> int:
    """Physical cores this process may run on: siblings share the units that matter, so they do not count."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, len(cores))


def _siblings(cpu: int) -> str:
    try:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return path.read_text("ascii").strip()
    except OSError:
        return str(cpu)
