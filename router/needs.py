"""What a task demands of whoever does it. Pure: derived from the task alone."""

from __future__ import annotations

from dataclasses import dataclass

from services.contracts.beat import Capability
from services.contracts.messages import (
    ChatRequest,
    EmbedRequest,
    IngestRequest,
    ReadRequest,
    Request,
    SearchRequest,
    Task,
)

_CHARS_PER_TOKEN = 4.0
# No tokenizer packs more characters into a token on average, so what this says is too long surely is.
_MOST_CHARS_PER_TOKEN = 10.0
_IMAGE_TOKENS = 800
# Wishes that any component may meet in its own way. Everything else must be honoured or refused.
_SOFT_PARAMS = frozenset({"temperature", "top_p", "max_tokens", "top_logprobs", "logprobs"})


@dataclass(frozen=True)
class Needs:
    """Hard constraints and sizes.

    Attributes:
        capabilities: all of these, `image` aside: an image may also be read first by another component.
        params: request parameters that must be honoured.
        input_tokens: estimate; least_input_tokens: a bound that no tokenizer undercuts.
    """

    capabilities: frozenset[Capability]
    params: frozenset[str] = frozenset()
    images: int = 0
    input_tokens: int = 0
    least_input_tokens: int = 0
    max_output_tokens: int | None = None
    local_only: bool = False


_SINGLE: dict[type[Request], Capability] = {
    EmbedRequest: "embed",
    ReadRequest: "read",
    SearchRequest: "search",
    IngestRequest: "ingest",
}


def needs_of(task: Task) -> Needs:
    """The needs of a task."""
    local_only = task.wishes.privacy == "local"
    request = task.request
    if not isinstance(request, ChatRequest):
        return Needs(frozenset({_SINGLE[type(request)]}), local_only=local_only)
    capabilities: set[Capability] = {"chat"}
    if request.tools and request.tool_choice != "none":
        capabilities.add("tools")
    if request.response_format.type != "text":
        capabilities.add("json")
    if request.sampling.logprobs:
        capabilities.add("logprobs")
    if request.written:
        capabilities.add("resume")
    chars = sum(len(message.text) for message in request.messages)
    images = len(request.images)
    return Needs(
        capabilities=frozenset(capabilities),
        params=_set_params(request),
        images=images,
        input_tokens=int(chars / _CHARS_PER_TOKEN) + images * _IMAGE_TOKENS + 8 * len(request.messages),
        least_input_tokens=int(chars / _MOST_CHARS_PER_TOKEN),
        max_output_tokens=request.sampling.max_tokens,
        local_only=local_only,
    )


def _set_params(request: ChatRequest) -> frozenset[str]:
    sampling = request.sampling
    given = {name for name in sampling.__struct_fields__ if getattr(sampling, name) not in (None, (), {}, False, 0)}
    if sampling.seed is not None:
        given.add("seed")  # a seed of 0 is a seed
    return frozenset(given - _SOFT_PARAMS)
