"""Reads `turnout.yaml` so that every error names its file, line and column.

The YAML is composed to nodes first: nodes know their position, and duplicate keys, aliases and foreign tags can be
refused before any object is built.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from services.contracts import catalog as model
from services.contracts.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
_Location = tuple[str | int, ...]


def load(path: Path) -> model.Catalog:
    """The catalog in a file.

    Raises:
        ConfigError: with one `file:line:column: where: what` line per mistake.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}:1: cannot be read: {error.strerror or type(error).__name__}") from error
    return parse(text_of(data, str(path)), str(path))


def text_of(data: bytes, name: str) -> str:
    """What a file holds.

    Raises:
        ConfigError: it is too large, or no text.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name}:1: larger than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{name}:{line}: not UTF-8 (byte {error.start})") from error


def parse(text: str, name: str = "turnout.yaml") -> model.Catalog:
    """The catalog in `text`. `name` stands for the file in errors."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{name}:1: larger than {MAX_BYTES} bytes")
    marks: dict[_Location, yaml.Mark] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = _plain(node, (), marks, set(), name) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{mark.line + 1}:{mark.column + 1}" if mark else "1"
        raise ConfigError(f"{name}:{at}: {error.problem or error.context or 'not valid YAML'}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{name}:{line}: not valid YAML: character {error.character:#06x} is not allowed") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}:1: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{name}:1: must be a mapping with `components:`, not a {type(raw).__name__}")
    try:
        return model.Catalog.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(name, problem, marks) for problem in error.errors())) from error


def _plain(node: yaml.Node, where: _Location, marks: dict[_Location, yaml.Mark], seen: set[int], name: str) -> Any:
    """A node as plain Python, noting where each value stands. An alias is a node met twice: a bomb in the making."""
    if len(where) > MAX_DEPTH:
        raise ConfigError(f"{_at(name, node.start_mark)}: nested deeper than {MAX_DEPTH}")
    if id(node) in seen:
        raise ConfigError(f"{_at(name, node.start_mark)}: aliases are not accepted here")
    seen.add(id(node))
    marks[where] = node.start_mark
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                raise ConfigError(f"{_at(name, key_node.start_mark)}: keys must be plain words")
            key = str(key_node.value)
            if key in found:
                first = marks[(*where, key)].line + 1
                raise ConfigError(f"{_at(name, key_node.start_mark)}: `{key}` is given twice (first in line {first})")
            found[key] = _plain(value_node, (*where, key), marks, seen, name)
            marks[(*where, key)] = key_node.start_mark
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*where, index), marks, seen, name) for index, child in enumerate(node.value)]
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise ConfigError(f"{_at(name, node.start_mark)}: tag {node.tag!r} is not accepted")
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError, AttributeError) as error:  # such as a 30th of February
        raise ConfigError(f"{_at(name, node.start_mark)}: no valid {node.tag.rpartition(':')[2]}") from error


def _at(name: str, mark: yaml.Mark) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


def _explain(name: str, problem: Any, marks: dict[_Location, yaml.Mark]) -> str:
    """One pydantic error as `file:line:column: where: what`, with a suggestion for a misspelt key."""
    loc = problem["loc"]
    if loc[:1] == ("components",):  # a discriminated union puts its tag into the location; the file has no such level
        loc = (*loc[:2], *loc[3:])
    known = loc
    while known and known not in marks:
        known = known[:-1]
    mark = marks.get(known)
    at = _at(name, mark) if mark else f"{name}:1"
    where = ".".join(str(part) for part in loc) or "file"
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), sorted(_known_keys(problem["loc"])), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        return f"{at}: {where}: unknown key{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    silent = problem["type"] == "missing" or isinstance(problem["input"], dict | list) or _SECRETS & set(loc)
    shown = "" if silent else _shown(problem)
    return f"{at}: {where}: {message}{shown}"


def _shown(problem: Any) -> str:
    return f" (got {str(problem['input'])[:60]!r})"


def _known_keys(loc: _Location) -> set[str]:
    """What may stand where the last part of `loc`, as pydantic gives it, does."""
    path = [str(part) for part in loc[:-1] if not isinstance(part, int)]
    section: type[BaseModel] = model.Catalog
    if path[:1] == ["components"] and len(path) == _KIND_DEPTH:
        section = _KINDS[path[-1]]
    elif path:
        section = _SECTIONS.get(path[-1], model.Catalog)
    return set(section.model_fields)


_SECRETS = frozenset({"key", "keys", "admin_keys"})  # whoever puts a key itself there must not read it in a log
_KIND_DEPTH = 3  # components, the name, the kind
_SECTIONS: dict[str, type[BaseModel]] = {
    "gateway": model.Gateway,
    "router": model.Router,
    "shadow": model.ShadowSpec,
    "price": model.PriceSpec,
    "replicas": model.Replicas,
    "key": model.KeyRef,
    "keys": model.KeyRef,
    "admin_keys": model.KeyRef,
    "swap": model.Swap,
    "canary": model.Canary,
    "adapters": model.Adapter,
}
_KINDS: dict[str, type[BaseModel]] = {
    "llm_local": model.LlmLocal,
    "llm_cloud": model.LlmCloud,
    "vision": model.Vision,
    "retrieval": model.Retrieval,
    "tool_agent": model.ToolAgent,
    "screen_agent": model.ScreenAgent,
}
