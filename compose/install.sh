#!/bin/sh
# install-locked KIND [WHEEL...]: the packages of /locks/KIND.lock into /opt/turnout, then the given wheels.
set -eu
kind=$1
shift
pip() { /build/bin/pip --python /opt/turnout/bin/python install -q --disable-pip-version-check --no-deps "$@"; }
pip --require-hashes -r "/locks/$kind.lock"
for wheel in "$@"; do pip --no-index "$wheel"; done
site=$(/opt/turnout/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
python3 /usr/local/lib/sbom.py "$site" /usr/share/base-packages >/opt/turnout/sbom.cdx.json
# Wheels cannot hold links, so a library with a version in its name is there three times.
python3 - <<'PYTHON'
import hashlib
from pathlib import Path

seen = {}
for path in sorted(Path("/opt/turnout").rglob("*.so*"), key=lambda p: len(p.name)):
    if not path.is_file() or path.is_symlink():
        continue
    key = (path.parent, hashlib.sha256(path.read_bytes()).digest())
    if key in seen:
        path.unlink()
        path.symlink_to(seen[key].name)
    else:
        seen[key] = path
PYTHON
