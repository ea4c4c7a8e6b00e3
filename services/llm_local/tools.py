"""Tool calls: how they are asked for, held to a grammar, and read back out of the text as it grows.

Three conventions are known. Qwen and Hermes write `<tool_call>{"name": …, "arguments": …}</tool_call>` where they like;
Llama 3.1 answers with nothing but `{"name": …, "parameters": …}`. A model whose template knows no tools is told the
first convention in its system prompt, and the grammar makes sure that it keeps to it.

Some models that know tags forget them and answer with the bare object, at times in a Markdown fence: an answer that
begins so and names one of the tools is a call too.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from services.contracts.errors import InvalidRequest, Unsupported
from services.contracts.events import ToolCallDelta
from services.contracts.messages import ChatRequest, Message, ToolSpec
from services.llm_local.grammar import Schemas
from services.llm_local.pattern import literal

MAX_TOOLS = 128
OPEN, CLOSE = "<tool_call>", "</tool_call>"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=[^\s])')
_FENCE = re.compile(r"\s*```(?:json)?\s*(?=\{)")
_FENCE_START = re.compile(r"\s*(?:`{1,3}|```\s*|```j|```js|```jso|```json\s*)")
_MAX_HEAD_CHARS = 400
_HEAD_START = '{"name":"'

Style = Literal["tagged", "bare"]


@dataclass(frozen=True)
class ToolPlan:
    """How the tools of one request are handled.

    Attributes:
        style: `tagged` as Qwen and Hermes do, `bare` as Llama 3.1 does.
        shown: tools to give to the template; empty if it knows none.
        preamble: what to tell a model whose template knows none.
        forced: grammar rules' root for an answer that must be a call, or empty.
        offered: root of the grammar to hold the rest of the answer to once it has begun a call, or empty.
    """

    style: Style
    shown: tuple[ToolSpec, ...]
    preamble: str
    forced: str
    offered: str


def plan(request: ChatRequest, template: str, schemas: Schemas) -> ToolPlan | None:
    """What to do about the tools of a request; None if there are none, or they must not be used.

    Args:
        request: tools and `tool_choice` are what matters.
        template: the chat template's source; tells the conventions the model was trained on.
        schemas: collects the grammar's rules.

    Raises:
        InvalidRequest: a bad name, a bad schema, or a choice that is not among the tools.
    """
    tools, choice = request.tools, request.tool_choice
    if not tools:
        if choice not in ("auto", "none"):
            raise InvalidRequest("`tool_choice` asks for a tool, but there are no `tools`", param="tool_choice")
        return None
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools", param="tools")
    for tool in tools:
        if not _NAME.fullmatch(tool.name):
            raise InvalidRequest("a tool's name has 1 to 64 of A-Z a-z 0-9 _ . -", param="tools")
    if choice == "none":
        return None
    usable = tools
    if choice not in ("auto", "required"):
        usable = tuple(tool for tool in tools if tool.name == choice)
        if not usable:
            raise InvalidRequest(
                f"`tool_choice` names {choice[:64]!r}, which is not among `tools`", param="tool_choice"
            )
    knows = "tools" in template
    style: Style = "bare" if knows and OPEN not in template and "python_tag" in template else "tagged"
    call = _call_rule(usable, schemas, "parameters" if style == "bare" else "arguments")
    # A model that was never trained on tools would go on calling for ever if the grammar let it.
    many = request.parallel_tool_calls and knows and choice in ("auto", "required")
    forced, offered = _roots(style, call, schemas, many=many)
    return ToolPlan(
        style=style,
        shown=tools if knows else (),
        preamble="" if knows else _preamble(tools),
        forced=forced if choice != "auto" else "",
        offered=offered if choice == "auto" else "",
    )


def _call_rule(tools: Sequence[ToolSpec], schemas: Schemas, key: str) -> str:
    parts: list[str] = []
    for tool in tools:
        head = literal(f'{{"name": "{tool.name}", "{key}": ')
        parts.append(f'{head} {_arguments(tool, schemas)} "}}"')
    return schemas.rule(" | ".join(parts))


def _arguments(tool: ToolSpec, schemas: Schemas) -> str:
    """The arguments' schema as a rule. Without `strict` a schema beyond our grammar still gives a JSON object.

    A function without `parameters` has none, as with OpenAI: a model left free would make some up.
    """
    parameters = {"type": "object", **(tool.parameters or {"properties": {}})}
    try:
        return schemas.add(parameters)
    except Unsupported:
        if tool.strict:
            raise
        return "object"


def _roots(style: Style, call: str, schemas: Schemas, *, many: bool) -> tuple[str, str]:
    """The grammar from the start of an answer, and that from just behind an opening tag."""
    if style == "bare":
        return call, ""
    inside = schemas.rule(f'"\\n"? {call} "\\n"? {literal(CLOSE)}')
    again = f'("\\n"? {literal(OPEN)} {inside})*' if many else ""
    return schemas.rule(f"{literal(OPEN)} {inside} {again}"), schemas.rule(f"{inside} {again}")


def _preamble(tools: Sequence[ToolSpec]) -> str:
    listed = "\n".join(
        json.dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        for tool in tools
    )
    return (
        f"You may call these functions:\n{listed}\n"
        f'To call one, answer with {OPEN}{{"name": "<function>", "arguments": {{<arguments>}}}}{CLOSE} '
        "and nothing else."
    )


def in_plain_turns(messages: Sequence[Message], preamble: str) -> list[Message]:
    """The conversation for a template that knows no tools: calls and results become text of ordinary turns."""
    turns: list[Message] = []
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.text}\n</tool_response>"
            if turns and turns[-1].role == "user" and turns[-1].text.startswith("<tool_response>"):
                turns[-1] = Message("user", f"{turns[-1].text}\n{text}")
            else:
                turns.append(Message("user", text))
        elif message.tool_calls:
            calls = [
                f'{OPEN}\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n{CLOSE}'
                for call in message.tool_calls
            ]
            turns.append(Message(message.role, "\n".join([message.text, *calls] if message.text else calls)))
        else:
            turns.append(message)
    if preamble:
        if turns and turns[0].role == "system":
            turns[0] = Message("system", f"{turns[0].text}\n\n{preamble}")
        else:
            turns.insert(0, Message("system", preamble))
    return turns


class ToolReader:
    """Splits growing text into what the user reads and what is a call.

    Attributes:
        calls: how many calls have begun.
    """

    def __init__(self, style: Style, names: Iterable[str], *, forced: bool = False) -> None:
        """Read calls of the tools called `names`. `forced`: a grammar holds the whole answer to calls."""
        self._style = style
        self._forced = forced
        self._names = frozenset(names)
        self._tagged = False  # the call now being read began with a tag
        self._since_tag = ""
        self._fence = ""
        self._mode: Literal["text", "head", "arguments", "tail"] = "text"
        self._held = ""
        self._scan = JsonScan()
        self._spoken = False
        self.calls = 0

    @property
    def inside(self) -> bool:
        """Whether a call has begun by its tag and not yet ended: nothing but a call may follow."""
        return self._tagged and self._mode in ("head", "arguments")

    @property
    def since_tag(self) -> str:
        """Everything behind the newest opening tag."""
        return self._since_tag

    def push(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """Add text; returns the readable part and the pieces of calls that are now certain."""
        self._held += text
        if self._tagged:
            self._since_tag += text
        spoken: list[str] = []
        pieces: list[ToolCallDelta] = []
        while self._advance(spoken, pieces):
            pass
        return "".join(spoken), pieces

    def finish(self) -> tuple[str, list[ToolCallDelta]]:
        """The rest, when nothing more comes. What never took the form of a call is text after all.

        A call that was surely one and was cut off before its name is dropped: it is markup, and nobody's to read.
        """
        held, self._held = self._held, ""
        if self._forced or (self.inside and _may_be_head(held)):
            return "", []
        if self._mode == "text":
            return held, []
        if self._mode == "head":
            self._mode = "text"
            return self._opening() + held, []
        return "", []

    def _advance(self, spoken: list[str], pieces: list[ToolCallDelta]) -> bool:
        """One step of the machine; False when it needs more text."""
        if self._mode == "text":
            if self._at_start():
                return self._find_bare(spoken)
            return self._style == "tagged" and self._find_call(spoken)
        if self._mode == "head":
            return self._read_head(spoken, pieces)
        if self._mode == "arguments":
            return self._read_arguments(pieces)
        return self._read_tail()

    def _find_call(self, spoken: list[str]) -> bool:
        at = self._held.find(OPEN)
        if at >= 0:
            before = self._held[:at]
            spoken.append(before.rstrip() if self.calls or not before.strip() else before)
            self._held = self._since_tag = self._held[at + len(OPEN) :]
            self._mode, self._tagged = "head", True
            return True
        keep = next(
            (n for n in range(min(len(OPEN) - 1, len(self._held)), 0, -1) if OPEN.startswith(self._held[-n:])), 0
        )
        cut = len(self._held) - keep
        out, self._held = self._held[:cut], self._held[cut:]
        if not (self.calls and not out.strip()):
            spoken.append(out)
        return False

    def _at_start(self) -> bool:
        return not self._spoken and self.calls == 0

    def _opening(self) -> str:
        """What stood before the head now held, for giving it back as text."""
        return OPEN if self._tagged else self._fence

    def _find_bare(self, spoken: list[str]) -> bool:
        """At the very start of an answer: is this the beginning of an object, perhaps in a fence?"""
        if not self._held.strip() or _FENCE_START.fullmatch(self._held):
            return False
        fence = _FENCE.match(self._held)
        if fence:
            self._fence, self._held = fence[0], self._held[fence.end() :]
        if fence or self._held.lstrip().startswith("{"):
            self._mode, self._tagged = "head", False
            return True
        self._spoken = True
        if self._style == "tagged":
            return True
        spoken.append(self._held)
        self._held = ""
        return False

    def _read_head(self, spoken: list[str], pieces: list[ToolCallDelta]) -> bool:
        match = _HEAD.match(self._held)
        name = json.loads(f'"{match[1]}"', strict=False) if match else ""
        if match and (self._tagged or name in self._names):
            pieces.append(ToolCallDelta(self.calls, f"call_{secrets.token_hex(12)}", name))
            self.calls += 1
            self._held = self._held[match.end() :]
            self._scan = JsonScan()
            self._mode = "arguments"
            return True
        hopeless = len(self._held) > _MAX_HEAD_CHARS or (
            CLOSE in self._held if self._tagged else not _may_be_head(self._held)
        )
        if match or hopeless:
            self._held = self._opening() + self._held
            self._mode, self._spoken = "text", True
            if self._tagged or self._style == "bare":
                spoken.append(self._held)
                self._held = ""
            self._tagged = False
            return bool(self._held)
        return False

    def _read_arguments(self, pieces: list[ToolCallDelta]) -> bool:
        end = self._scan.push(self._held)
        if end is None:
            if self._held:
                pieces.append(ToolCallDelta(self.calls - 1, arguments=self._held))
            self._held = ""
            return False
        if end:
            pieces.append(ToolCallDelta(self.calls - 1, arguments=self._held[:end]))
        self._held = self._held[end:]
        self._mode = "tail"
        return True

    def _read_tail(self) -> bool:
        if not self._tagged:
            self._held = ""
            return False
        at = self._held.find(CLOSE)
        if at < 0:
            return False
        self._held = self._held[at + len(CLOSE) :].lstrip("\n")
        self._mode, self._tagged = "text", False
        return True


def _may_be_head(text: str) -> bool:
    """Whether a text can still become the head of a call."""
    start = "".join(text.split())[: len(_HEAD_START)]
    return _HEAD_START.startswith(start)


class JsonScan:
    """Finds the end of a JSON value in text that arrives in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._begun = False

    def push(self, text: str) -> int | None:
        """Index just behind the value's end in this piece, or None if it goes on."""
        for at, char in enumerate(text):
            end = self._quoted(char) if self._in_string else self._bare(char)
            if end is not None:
                return at + end
        return None

    def _quoted(self, char: str) -> int | None:
        """Inside a string. 1 if the value ends with this character."""
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False
            return 1 if self._depth == 0 else None
        return None

    def _bare(self, char: str) -> int | None:
        """Outside of strings. 1 if the value ends with this character, 0 if it has ended before it."""
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return None if self._depth > 0 else max(0, self._depth + 1)
        elif self._depth == 0 and char in ", \n\t":
            return 0 if self._begun else None
        self._begun = True
        return None
