from __future__ import annotations

from services.contracts.catalog_file import parse
from services.controller.changes import changes
from services.controller.reconciler import fingerprint

REST = ", output_usd_per_mtok 0.0, request_usd 0.0"
BEFORE = """
components:
  small: {kind: llm_cloud, model: a, price: {input_usd_per_mtok: 1}}
  eyes: {kind: vision}
"""


def told(after: str) -> tuple[str, ...]:
    return changes(parse(BEFORE), parse(after))


def test_nothing_changed_says_nothing() -> None:
    assert told(BEFORE) == ()


def test_each_difference_says_how_it_takes_effect() -> None:
    assert told(
        """
gateway: {port: 9999, max_images: 2}
router: {quality: 0.9}
components:
  small: {kind: llm_cloud, model: b, price: {input_usd_per_mtok: 2}}
  docs: {kind: retrieval}
"""
    ) == (
        "~ gateway.port: 8080 -> 9999 (at the next start)",
        "~ gateway.max_images: 8 -> 2 (at once)",
        "~ router.quality: 0.6 -> 0.9 (at once)",
        "- eyes",
        f"~ small.price: input_usd_per_mtok 1.0{REST} -> input_usd_per_mtok 2.0{REST} (at once)",
        "~ small.model: a -> b (new instances)",
        "+ docs (retrieval)",
    )


def test_what_is_said_to_need_new_instances_gets_them() -> None:
    """The words and the fingerprint must not drift apart."""
    before = parse(BEFORE).components["small"]
    for change, renewed in (
        ({"model": "b"}, True),
        ({"slots": 3}, True),
        ({"quality": 0.3}, False),
        ({"tier": "tiny"}, False),
        ({"price": None}, True),
    ):
        after = before.model_copy(update=change)
        assert (fingerprint(after) != fingerprint(before)) is renewed, change
        catalog = parse(BEFORE)
        changed = catalog.model_copy(update={"components": {**catalog.components, "small": after}})
        assert ("new instances" in "".join(changes(catalog, changed))) is renewed, change
