"""What differs between two catalogs, in words. Pure: the same for `turnout diff` and for what an apply reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.contracts.catalog import Catalog
from services.controller.reconciler import LIVE

_SHOWN_CHARS = 60
_AT_START = frozenset({"host", "port"})  # the socket is open


def changes(old: Catalog, new: Catalog) -> tuple[str, ...]:
    """One line a difference: `+` a new component, `-` one that goes, `~` a changed value and how it takes effect."""
    return tuple(_lines(old, new))


def _lines(old: Catalog, new: Catalog) -> Iterator[str]:
    for section in ("gateway", "router"):
        for name, (before, after) in _differing(getattr(old, section), getattr(new, section)).items():
            how = "at the next start" if name in _AT_START else "at once"
            yield f"~ {section}.{name}: {_shown(before)} -> {_shown(after)} ({how})"
    for name in old.components.keys() - new.components.keys():
        yield f"- {name}"
    for name, spec in new.components.items():
        before_spec = old.components.get(name)
        if before_spec is None:
            yield f"+ {name} ({spec.kind})"
        elif before_spec.kind != spec.kind:
            yield f"~ {name}.kind: {before_spec.kind} -> {spec.kind} (new instances)"
        else:
            for field, (before, after) in _differing(before_spec, spec).items():
                renewed = field not in LIVE or (field == "price" and None in (before, after))
                how = "new instances" if renewed else "at once"
                yield f"~ {name}.{field}: {_shown(before)} -> {_shown(after)} ({how})"


def _differing(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return {key: (before.get(key), after.get(key)) for key in after if before.get(key) != after.get(key)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None) or "none"
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
