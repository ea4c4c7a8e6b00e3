"""From a request to something the engine can run: prompt tokens, samplers, grammar, limits. All checks happen here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from services.contracts.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from services.contracts.messages import ChatRequest, Message, ToolCall, ToolSpec
from services.llm_local.generation import Generation
from services.llm_local.grammar import Schemas
from services.llm_local.native import Model, breaker
from services.llm_local.sampler import Chooser, Constraint, check
from services.llm_local.template import ChatTemplate
from services.llm_local.text import TextStream
from services.llm_local.tools import ToolPlan, ToolReader, in_plain_turns, plan

_MARK = "\ufdd0"  # a code point that Unicode promises never to use


class Preparer:
    """Turns requests into generations. Safe to use from several threads."""

    def __init__(self, model: Model, template: ChatTemplate, context_tokens: int, system: str | None = None) -> None:
        """Args: `system` is the system prompt of requests that bring none."""
        self._model = model
        self._template = template
        self._context_tokens = context_tokens
        self._system = None if system is None else Message("system", system)
        self._breaker: tuple[re.Pattern[str], str] | None = breaker(model.special, _MARK) if model.special else None

    def generation(self, request: ChatRequest, deadline_s: float) -> Generation:
        """What the engine runs for a request.

        Raises:
            ContextLengthExceeded: the prompt leaves no room for an answer.
            Unsupported: images, or a form that cannot be enforced.
            InvalidRequest: anything else that is wrong with it.
        """
        if request.images:
            raise Unsupported("this model reads text only; it cannot see images", param="messages")
        if not request.messages:
            raise InvalidRequest("`messages` must not be empty", param="messages")
        settings = check(request.sampling, self._model.vocab_size)
        schemas = Schemas()
        tools = plan(request, self._template.source, schemas)
        grammar = self._grammar(request, tools, schemas)
        messages = request.messages
        if self._system is not None and not any(message.role == "system" for message in messages):
            messages = (self._system, *messages)
        prompt = self.prompt(messages, tools)
        written = self._model.tokenize(self._soften(request.written), special=False) if request.written else []
        room = self._context_tokens - len(prompt) - len(written)
        if room < 1:
            raise self._too_long(str(len(prompt) + len(written)))
        wanted = request.sampling.max_tokens
        # Another split of the same text may have more tokens than the answer was allowed: one more ends it then.
        limit = room if wanted is None else max(1, min(wanted - len(written), room))
        constraint = Constraint(self._model, grammar) if grammar else None
        if constraint is not None and not constraint.try_accept(written):
            raise Unsupported("the answer that was begun does not have the form that is asked for")
        chooser = Chooser(self._model, settings, limit, constraint)
        chooser.remember(written)
        return Generation(
            prompt=prompt + written,
            written=len(written),
            chooser=chooser,
            text=TextStream(request.sampling.stop),
            max_tokens=limit,
            deadline_s=deadline_s,
            reader=ToolReader(tools.style, [tool.name for tool in request.tools], forced=bool(tools.forced))
            if tools
            else None,
            call_grammar=schemas.finish(tools.offered) if tools and tools.offered and not grammar else "",
            logprobs=request.sampling.logprobs,
            top_logprobs=request.sampling.top_logprobs,
        )

    def prompt(self, messages: Sequence[Message], tools: ToolPlan | None) -> list[int]:
        """The tokens of a conversation.

        Raises:
            ContextLengthExceeded: they do not fit; names both numbers.
        """
        least = sum(len(message.text) for message in messages) // self._model.longest_piece_bytes
        if least >= self._context_tokens:
            raise self._too_long(f"at least {least}")
        turns = [self._soften_message(message) for message in messages]
        if not self._template.knows_tools:
            turns = in_plain_turns(turns, self._soften(tools.preamble) if tools else "")
        shown = [self._soften_tool(tool) for tool in tools.shown] if tools else []
        text = self._template.render(turns, shown)
        tokens: list[int] = []
        for part in text.split(_MARK):
            tokens += self._model.tokenize(part, special=True)
        if self._model.add_bos and self._model.bos >= 0 and tokens[:1] != [self._model.bos]:
            tokens.insert(0, self._model.bos)
        if len(tokens) >= self._context_tokens:
            raise self._too_long(str(len(tokens)))
        return tokens

    def _too_long(self, count: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {count} tokens; this model's context is {self._context_tokens} tokens, "
            "of which the answer needs at least 1",
            param="messages",
        )

    @staticmethod
    def _grammar(request: ChatRequest, tools: ToolPlan | None, schemas: Schemas) -> str:
        """The grammar for the whole answer, or empty if it is free at its start."""
        if tools and tools.forced:
            return schemas.finish(tools.forced)
        form = request.response_format
        if form.type == "text":
            return ""
        if form.type == "json_schema":
            if form.schema is None:
                raise InvalidRequest("`response_format` of type json_schema needs a schema", param="response_format")
            root = schemas.add(form.schema)
        else:
            root = "object"
        if tools and tools.offered:
            root = f'{root} | "<tool_call>" {tools.offered}'
        return schemas.finish(root)

    def _soften(self, text: str) -> str:
        """A text of the user's whose characters can never become a control token of the model."""
        if self._breaker is None:
            return text.replace(_MARK, "")
        pattern, replacement = self._breaker
        return pattern.sub(replacement, text.replace(_MARK, ""))

    def _soften_message(self, message: Message) -> Message:
        return msgspec.structs.replace(
            message,
            content=self._soften(message.text),
            name=None if message.name is None else self._soften(message.name),
            tool_call_id=None if message.tool_call_id is None else self._soften(message.tool_call_id),
            tool_calls=tuple(
                ToolCall(self._soften(call.id), self._soften(call.name), self._soften(call.arguments))
                for call in message.tool_calls
            ),
        )

    def _soften_tool(self, tool: ToolSpec) -> ToolSpec:
        return msgspec.structs.replace(
            tool, description=self._soften(tool.description), parameters=self._soften_json(tool.parameters)
        )

    def _soften_json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._soften(value)
        if isinstance(value, dict):
            return {self._soften(str(key)): self._soften_json(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._soften_json(inner) for inner in value]
        return value
