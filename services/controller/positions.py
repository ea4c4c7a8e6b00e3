"""Where a component stands in a configuration file, for errors that show only once it runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_TELLING_CHARS = 3


def line_of(path: Path, component: str, reason: str = "") -> int:
    """The line (from 1) of what `reason` speaks of: a key of the component's section, else the component's name."""
    try:
        return line_in(path.read_text("utf-8"), component, reason)
    except (OSError, UnicodeDecodeError):
        return 1  # it was readable when it was loaded; somebody is editing it


def line_in(text: str, component: str, reason: str = "") -> int:
    """The same for the text of a configuration."""
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return 1
    sections = _keys(document)
    if component in sections:  # the gateway and the router have sections of their own
        name_node, body = sections[component]
    else:
        found = _keys(sections["components"][1]).get(component) if "components" in sections else None
        if found is None:
            return 1
        name_node, body = found
    key = _key_of(reason, _keys(body))
    return int((key or name_node).start_mark.line) + 1


def _key_of(reason: str, keys: dict[str, tuple[yaml.Node, yaml.Node]]) -> yaml.Node | None:
    """The key whose value is to blame. Reasons begin with the key or its value, or name it."""
    for name, (key, _) in keys.items():
        if reason.startswith(f"{name}:") or f".{name}:" in reason:
            return key
    if "sha256" in keys and re.search(r"(?<!`)\bsha256\b", reason):
        return keys["sha256"][0]
    for key, value in keys.values():
        if isinstance(value, yaml.ScalarNode) and len(value.value) > _TELLING_CHARS and reason.startswith(value.value):
            return key
    return next((key for name, (key, _) in keys.items() if f"`{name}`" in reason), None)


def _keys(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
