"""Where a component stands in a configuration file, for errors that show only once it runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_MOST_TELLING = ("sha256", "source", "key", "base_url", "path", "predictor", "keys", "host")


def line_of(path: Path, component: str, reason: str = "") -> int:
    """The line (from 1) of what `reason` speaks of: a key of the component's section, else the component's name."""
    try:
        document = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return 1  # it was readable when it was loaded; somebody is editing it
    sections = _keys(document)
    if component in sections:  # the gateway and the router have sections of their own
        name_node, body = sections[component]
    else:
        found = _keys(sections["components"][1]).get(component) if "components" in sections else None
        if found is None:
            return 1
        name_node, body = found
    keys = _keys(body)
    for key in sorted(keys, key=lambda k: _MOST_TELLING.index(k) if k in _MOST_TELLING else len(_MOST_TELLING)):
        if _speaks_of(reason, key):
            return int(keys[key][0].start_mark.line) + 1
    return int(name_node.start_mark.line) + 1


def _speaks_of(reason: str, key: str) -> bool:
    if reason.startswith((f"{key}:", f"{key} ")) or f"`{key}`" in reason or f".{key}:" in reason:
        return True
    return key == "sha256" and re.search(r"\bsha-?256\b", reason, re.IGNORECASE) is not None


def _keys(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
