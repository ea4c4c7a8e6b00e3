"""The JSON schema of `turnout.yaml`, generated from the model that reads it."""

from __future__ import annotations

import json
from typing import Any

from services.contracts.catalog import Catalog


def schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "turnout.yaml",
        **{key: value for key, value in Catalog.model_json_schema().items() if key != "title"},
    }


def text() -> str:
    """The schema as the file `turnout.schema.json` holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
