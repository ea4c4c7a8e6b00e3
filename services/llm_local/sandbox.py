"""A Jinja environment for templates nobody has read: no attributes of Python, bounded time, bounded size.

A chat template comes with the weights, from whoever made the file. It needs loops, text and a few filters, and gets
those.
Source: transformers' chat templates (https://huggingface.co/docs/transformers/chat_templating) for what they may use.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_CHARS = 4_000_000
MAX_TURNS = 200_000
MAX_SECONDS = 2.0
_MAX_RANGE = 100_000
_MAX_INT = 2**63

_FILTERS = frozenset(
    (
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "escape",
        "e",
        "first",
        "float",
        "int",
        "items",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "sort",
        "title",
        "trim",
        "unique",
        "upper",
    )
)
_TESTS_GONE = frozenset(("filter", "test"))
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        (
            "strip",
            "lstrip",
            "rstrip",
            "split",
            "rsplit",
            "splitlines",
            "startswith",
            "endswith",
            "upper",
            "lower",
            "title",
            "capitalize",
            "find",
            "rfind",
            "index",
            "count",
            "removeprefix",
            "removesuffix",
            "isdigit",
            "isalpha",
            "isupper",
            "islower",
            "replace",
            "join",
        )
    ),
    dict: frozenset(("items", "keys", "values", "get")),
    list: frozenset(("index", "count")),
    tuple: frozenset(("index", "count")),
}


class Refused(TemplateError):
    """The template went over a limit or asked for what it may not have."""


class RaisedByTemplate(TemplateError):
    """The template itself says that this conversation is wrong."""


class Budget:
    """How much one rendering may still do."""

    def __init__(self) -> None:
        self._turns = MAX_TURNS
        self._chars = MAX_CHARS
        self._until = time.monotonic() + MAX_SECONDS

    def turn(self) -> str:
        """Once per turn of a loop and per call."""
        self._turns -= 1
        if self._turns < 0 or time.monotonic() > self._until:
            raise Refused("it runs too long")
        return ""

    def take(self, chars: int) -> None:
        """Room for so many characters or list members."""
        self._chars -= chars
        if self._chars < 0:
            raise Refused("it makes too much text")
        if time.monotonic() > self._until:
            raise Refused("it runs too long")


class _Guard(NodeTransformer):
    """Puts a count into every loop and macro, and sends `~` through a function that minds the size."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        node.body = [_tick(node.lineno), *node.body]
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.body = [_tick(node.lineno), *node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        joined = nodes.Call(nodes.Name("__concat", "load"), list(node.nodes), [], None, None)
        joined.set_lineno(node.lineno)
        return joined


def _tick(line: int) -> nodes.Output:
    call = nodes.Call(nodes.Name("__turn", "load"), [], [], None, None)
    output = nodes.Output([call])
    output.set_lineno(line)
    return output


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment. One rendering at a time."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=self._finalize)
        self.budget = Budget()
        self.filters = {name: function for name, function in self.filters.items() if name in _FILTERS}
        self.filters.update(tojson=self._tojson, string=self._text, join=self._join, replace=self._replace)
        self.filters["indent"] = self._indent
        self.tests = {name: function for name, function in self.tests.items() if name not in _TESTS_GONE}
        self.globals = {
            "range": self._range,
            "namespace": self.globals["namespace"],
            "dict": dict,
            "raise_exception": _raise,
            "strftime_now": _now,
            "__turn": self._turn,
            "__concat": self._concat,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for kind in (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends):
            if tree.find(kind) is not None:
                raise Refused("it asks for other files")
        if any(name.name.startswith("__") for name in tree.find_all(nodes.Name)):
            raise Refused("it uses a reserved name")
        guarded: nodes.Template = _Guard().visit(tree)
        return guarded

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the methods listed above; everything else of Python does not exist here."""
        for kind, methods in _METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Keys of mappings come first: a message's `items` is the client's, not Python's. Unsafe ones are refused."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ARG002 - the name is that of the base class
        """No `format` either: one field may ask for a gigabyte of blanks."""
        return

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Looking for Python's insides is no mistake of a template that means well."""
        if attribute.startswith("_"):
            raise Refused(f"it reaches for {attribute!r}")
        return super().unsafe_undefined(obj, attribute)

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Count every call, and mind the two text methods that can make much of little."""
        self.budget.turn()
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str) and getattr(function, "__name__", "") == "replace":
            return self._replace(owner, *args, **kwargs)
        if isinstance(owner, str) and getattr(function, "__name__", "") == "join":
            return self._join(args[0] if args else (), owner)
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic of modest size."""
        self.budget.turn()
        sizes = [_size(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        numbers = [side for side in (left, right) if isinstance(side, int | float)]
        if any(abs(number) >= _MAX_INT for number in numbers) or operator == "**":
            raise Refused("it computes with huge numbers")
        if operator == "%" and sizes:
            raise Refused("it formats text by `%`")
        if operator == "*" and sizes:
            self.budget.take(sizes[0] * max(0, int(numbers[0])) if numbers else 0)
        elif sizes:
            self.budget.take(sum(sizes))
        return super().call_binop(context, operator, left, right)

    def _finalize(self, value: Any) -> str:
        return self._text(value)

    def _turn(self) -> str:
        return self.budget.turn()

    def _text(self, value: Any) -> str:
        """Anything as text; a structure is written as JSON within the budget."""
        if not (value is None or isinstance(value, str | bool | int | float | Undefined)):
            return self._tojson(value)
        text = str(value)
        self.budget.take(len(text))
        return text

    def _concat(self, *parts: Any) -> str:
        return "".join(self._text(part) for part in parts)

    def _tojson(self, value: Any, indent: int | None = None, ensure_ascii: bool = False, **_other: Any) -> str:
        """As transformers has it: not escaped for HTML. Written piece by piece: a bomb meets its limit early."""
        if indent is not None and not 0 <= indent <= 16:  # noqa: PLR2004
            raise Refused("it indents too far")
        pieces: list[str] = []
        try:
            for piece in json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent).iterencode(value):
                self.budget.take(len(piece) + 1)
                pieces.append(piece)
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused("it writes something that is not JSON") from error
        return "".join(pieces)

    def _join(self, parts: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
        texts: list[str] = []
        for part in parts:
            self.budget.turn()
            self.budget.take(len(separator))
            texts.append(self._text(part if attribute is None else self.getattr(part, attribute)))
        return str(separator).join(texts)

    def _replace(self, value: Any, old: str, new: str, count: int | None = None) -> str:
        text = self._text(value)
        times = text.count(old) if old else len(text) + 1
        self.budget.take(times * len(new))
        return text.replace(str(old), str(new), -1 if count is None else count)

    def _indent(self, text: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:
        text = self._text(text)
        if not isinstance(width, int) or not 0 <= width <= 64:  # noqa: PLR2004
            raise Refused("it indents too far")
        self.budget.take((text.count("\n") + 1) * width)
        lines = text.split("\n")
        pad = " " * width
        rest = [pad + line if line or blank else line for line in lines[1:]]
        return "\n".join([pad + lines[0] if first else lines[0], *rest])

    def _range(self, *bounds: int) -> range:
        found = range(*bounds)
        if len(found) > _MAX_RANGE:
            raise Refused("a range is too long")
        self.budget.take(len(found))
        return found


def _size(value: Any) -> int:
    """Members of a list weigh more than characters: each may be much to work on."""
    return len(value) if isinstance(value, str) else 16 * len(value)


def _raise(message: object = "") -> NoReturn:
    raise RaisedByTemplate(str(message)[:500])


def _now(form: str = "%d %b %Y") -> str:
    return datetime.now(UTC).strftime(str(form)[:64])
