"""The schemas of `GET /openapi.json`: those of requests as pydantic tells them, those of answers as msgspec does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.responses_in import INCLUDED, MODES
from services.gateway.responses_schema import HARMLESS as HARMLESS_IN_RESPONSES
from services.gateway.responses_schema import (
    ChosenFunctionIn,
    FunctionCallIn,
    FunctionCallOutputIn,
    FunctionToolIn,
    InputImageIn,
    InputTextIn,
    MessageItemIn,
    OutputRefusalIn,
    OutputTextIn,
    ResponsesBody,
)
from services.gateway.schema import HARMLESS, MAX_MESSAGES, ChatBody, EmbedBody, ImagePartIn, TextPartIn
from services.gateway.translate import MAX_INPUTS

Json = dict[str, Any]

_REF = "#/components/schemas/"
_ITEMS: tuple[type[BaseModel], ...] = (MessageItemIn, FunctionCallIn, FunctionCallOutputIn)
_PARTS: tuple[type[BaseModel], ...] = (InputTextIn, InputImageIn, OutputTextIn, OutputRefusalIn)
_MORE: tuple[type[BaseModel], ...] = (TextPartIn, ImagePartIn, *_ITEMS, *_PARTS, FunctionToolIn, ChosenFunctionIn)
PLAIN: dict[type, Json] = {str: {"type": "string"}, dict: {"type": "object"}, bytes: {"type": "string"}}


def ref(kind: type) -> Json:
    """Where the schema of `kind` is."""
    return PLAIN.get(kind) or {"$ref": f"{_REF}{kind.__name__}"}


def schemas(bodies: Sequence[type[BaseModel]], answers: Sequence[type]) -> Json:
    """Every schema by its name: those of requests as pydantic tells them, those of answers as msgspec does."""
    models = [*bodies, *_MORE]
    _, of_requests = models_json_schema([(model, "validation") for model in models], ref_template=_REF + "{model}")
    _, of_answers = msgspec.json.schema_components(answers, ref_template=_REF + "{name}")
    found: Json = {**of_requests["$defs"], **of_answers}
    # What the models leave to `translate`, which knows the parts of a message and the inputs one by one.
    parts = {"anyOf": [ref(TextPartIn), ref(ImagePartIn)]}
    found["MessageIn"]["properties"]["content"]["anyOf"] = [
        {"type": "string"},
        {"type": "array", "items": parts, "minItems": 1},
        {"type": "null", "description": "where an assistant's turn has tool calls or a refusal"},
    ]
    text = {"type": "string", "minLength": 1}
    found["EmbedBody"]["properties"]["input"]["anyOf"] = [
        text,
        {"type": "array", "items": text, "minItems": 1, "maxItems": MAX_INPUTS},
    ]
    _fill_in_responses(found)
    for body, harmless in ((ChatBody, HARMLESS), (EmbedBody, HARMLESS), (ResponsesBody, HARMLESS_IN_RESPONSES)):
        found[body.__name__]["properties"] |= _harmless(harmless)
    return found


def _fill_in_responses(found: Json) -> None:
    """What the models leave to `responses_in`."""
    parts = {"type": "array", "items": {"anyOf": [ref(part) for part in _PARTS]}, "minItems": 1}
    items = {"anyOf": [ref(item) for item in _ITEMS]}
    found["MessageItemIn"]["properties"]["content"]["anyOf"] = [{"type": "string"}, parts]
    found["FunctionCallOutputIn"]["properties"]["output"]["anyOf"] = [{"type": "string"}, parts]
    body = found["ResponsesBody"]["properties"]
    body["input"]["anyOf"] = [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_MESSAGES},
    ]
    body["tools"]["anyOf"][0]["items"] = ref(FunctionToolIn)
    body["tool_choice"] = {"anyOf": [{"enum": sorted(MODES)}, ref(ChosenFunctionIn), {"type": "null"}]}
    body["include"]["anyOf"][0]["items"] = {"enum": sorted(INCLUDED)}


def _harmless(parameters: Mapping[str, tuple[Any, ...] | None]) -> Json:
    """OpenAI's parameters that change nothing of an answer, with the values of which that is true."""
    text = "Accepted, and changes nothing here."
    who = "Changes nothing of the answer; tells people apart who ask with one key, where it counts who asked again."
    told = {"user": who, "safety_identifier": who}
    return {
        name: {"description": told.get(name, text)} | ({} if accepted is None else {"enum": list(accepted)})
        for name, accepted in parameters.items()
    }
