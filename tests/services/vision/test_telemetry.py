"""What reads screens tells nobody about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = "from services.vision.engine import Engine; Engine(threads=1).load()"


def test_the_models_load_without_an_identity_for_telemetry(tmp_path: Path) -> None:
    # ONNX Runtime's sender makes its identity in the user's home as soon as the library is imported, if it may.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", LOAD], env=environment, check=True, timeout=60)
    assert [str(path) for path in tmp_path.rglob("*") if path.is_file()] == []
