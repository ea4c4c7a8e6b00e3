"""LiteLLM's spend logs as JSON: what `/spend/logs` answers, or an export of its table, an array or one object a line.

A spend log has cost, tokens and times. The prompt is there only where LiteLLM was told to store it
(`store_prompts_in_spend_logs`), and quality only where somebody has put it into the request's metadata as `quality`, or
where the request failed, which is 0. Rows without either are reported, not guessed.

Source: https://docs.litellm.ai/docs/proxy/cost_tracking
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from services.contracts.errors import ConfigError


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of the log, numbered by line, or by place in the array.

    Raises:
        ConfigError: it is no text, or an array that is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start:,}") from error
    if text.lstrip().startswith("["):
        try:
            records = list(enumerate(json.loads(text), start=1))
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON: {error}") from error
        for number, record in records:
            yield number, _row(record)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            yield number, str(error)
            continue
        yield number, _row(record)


def _row(record: Any) -> dict[str, Any] | str:
    if not isinstance(record, dict):
        return "not an object"
    prompt = _prompt(record.get("messages")) or _prompt(_inside(record.get("proxy_server_request")).get("messages"))
    if not prompt:
        return "the prompt was not stored; set store_prompts_in_spend_logs"
    metadata = _inside(record.get("metadata"))
    failed = "failure" in (record.get("status"), metadata.get("status"))
    quality = 0.0 if failed else metadata.get("quality", record.get("quality"))
    if quality is None:
        return "no quality: neither metadata.quality nor a failed request"
    return {
        "source": "litellm",
        "prompt_id": str(metadata.get("prompt_id") or record.get("request_id") or ""),
        "prompt": prompt,
        "task": str(metadata.get("task") or ""),
        "model": str(record.get("model") or ""),
        "quality": quality,
        "cost_usd": record.get("spend"),
        "input_tokens": record.get("prompt_tokens"),
        "output_tokens": record.get("completion_tokens"),
        "latency_s": _seconds(record.get("startTime"), record.get("endTime")),
    }


def _inside(value: Any) -> dict[str, Any]:
    """A JSON object that may have been stored as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _prompt(messages: Any) -> str:
    """The text of the last user turn."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError:
            return str(messages)
    if isinstance(messages, dict):
        messages = messages.get("messages")
    if not isinstance(messages, list):
        return ""
    turns = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    if not turns:
        return ""
    content = turns[-1].get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)


def _seconds(start: Any, end: Any) -> float | None:
    try:
        return (datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds()
    except (ValueError, TypeError):
        return None
