"""A conversation as the text a model was trained on, by the chat template inside its GGUF."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from services.contracts.errors import ConfigError, InvalidRequest
from services.contracts.messages import Message, ToolSpec
from services.llm_local.sandbox import Budget, RaisedByTemplate, Sandbox

MAX_TEMPLATE_CHARS = 256 * 1024

# For a GGUF without a template: the form most models of today understand (ChatML).
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class ChatTemplate:
    """Renders conversations. Safe to use from several threads.

    Attributes:
        source: the template's text; tells which conventions the model knows.
    """

    def __init__(self, source: str | None, *, bos: str = "", eos: str = "") -> None:
        """Compile, and try it on a short conversation.

        Raises:
            ConfigError: the template is broken, or does what it must not.
        """
        self.source = source or CHATML
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        if len(self.source) > MAX_TEMPLATE_CHARS:
            raise ConfigError(f"the model's chat template has more than {MAX_TEMPLATE_CHARS} characters: not trusted")
        self._sandbox = Sandbox()
        try:
            self._template = self._sandbox.from_string(self.source)
            self._render([{"role": "user", "content": "Hello"}], None)
        except RaisedByTemplate:
            pass  # it runs, and has an opinion on our trial
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"the model's chat template is refused: {error}. Use another GGUF of this model."
            ) from error

    @property
    def knows_tools(self) -> bool:
        """Whether the template shows tools to the model."""
        return "tools" in self.source

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> str:
        """The prompt, ready for the model to answer.

        Raises:
            InvalidRequest: the template does not take this conversation, or it is too large for it.
        """
        turns = [_turn(message) for message in messages]
        try:
            return self._render(turns, [_tool(tool) for tool in tools] or None)
        except RaisedByTemplate as error:
            raise InvalidRequest(f"this model does not take such a conversation: {error}", param="messages") from error
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"the model's chat template cannot render this conversation: {error}", param="messages"
            ) from error

    def _render(self, turns: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        with self._lock:
            self._sandbox.budget = Budget()
            return self._template.render(messages=turns, tools=tools, add_generation_prompt=True, **self._tokens)


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name:
        turn["name"] = message.name
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return turn


def _arguments(text: str) -> Any:
    """Templates write arguments with `tojson`, so they want the object and not its text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
