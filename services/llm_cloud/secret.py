"""The upstream's key: read from where the catalog says, read again when its file changes, shown to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from services.contracts.catalog import KeyRef

MAX_KEY_CHARS = 8192
HIDDEN = "***"
# What keys look like with the vendors we know, plus anything behind "Bearer": vendors quote keys in their errors.
_KEY_LIKE = re.compile(r"(?i)\bbearer\s+\S+|\b(?:sk|pk|rk|gsk|xai)[-_][\w*.-]{8,}|\bAIza[\w-]{10,}")
_USABLE = re.compile(r"[\x21-\x7e]+")


class Secret:
    """A key that may change while we run.

    Attributes:
        missing: what an operator has to do to provide it; empty while there is one, or none is needed.
    """

    def __init__(self, ref: KeyRef | None, base_dir: str = ".", environ: Mapping[str, str] = os.environ) -> None:
        self._ref = ref
        self._environ = environ
        self._path = Path(base_dir, ref.file).expanduser() if ref is not None and ref.file is not None else None
        self._seen: tuple[int, int, int] | None = None
        self._value: str | None = None
        self._former: str | None = None  # requests sent with it may still fail, and quote it
        self._version = 0
        self.missing = ""

    def __repr__(self) -> str:
        return f"Secret({self._where()})"

    @property
    def version(self) -> int:
        """Grows whenever the key changes."""
        return self._version

    def value(self) -> str | None:
        """The key now, or None: then `missing` says why, unless none is needed."""
        if self._ref is None:
            return None
        if self._path is not None:
            self._read_file(self._path)
        elif self._version == 0:
            self._set(self._environ.get(self._ref.env or "", ""), "is not set")
        return self._value

    def scrub(self, text: str) -> str:
        """`text` without the key, and without anything that looks like one."""
        for key in (self._value, self._former):
            if key:
                text = text.replace(key, HIDDEN)
        return _KEY_LIKE.sub(HIDDEN, text)

    def _where(self) -> str:
        if self._ref is None:
            return "none needed"
        return f"environment variable {self._ref.env}" if self._ref.env is not None else f"file {self._ref.file}"

    def _read_file(self, path: Path) -> None:
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            with path.open("r", encoding="ascii", errors="replace") as file:
                text = file.read(MAX_KEY_CHARS + 1)
        except OSError as error:
            self._seen = None
            self._set("", f"cannot be read: {error.strerror or type(error).__name__}")
            return
        self._seen = seen
        self._set(text, "is empty")

    def _set(self, text: str, empty: str) -> None:
        text = text.strip()
        problem = ""
        if not text:
            problem = empty
        elif len(text) > MAX_KEY_CHARS or not _USABLE.fullmatch(text):
            # Anything else would break out of its HTTP header.
            problem = "does not hold one line of printable ASCII"
        value = None if problem else text
        if value != self._value or self._version == 0:
            self._version += 1
            self._former = self._value or self._former
        self._value = value
        self.missing = f"no key: {self._where()} {problem}" if problem else ""
