"""Structured logs on standard error: for a terminal when there is one, else one JSON object a line."""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure(name: str) -> None:
    """Set up logging for this process. `TURNOUT_LOG` is the least level shown (default: info)."""
    level = getattr(logging, os.environ.get("TURNOUT_LOG", "info").upper(), logging.INFO)
    pretty = os.environ.get("TURNOUT_LOG_FORMAT", "text" if sys.stderr.isatty() else "json") == "text"
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=name)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
