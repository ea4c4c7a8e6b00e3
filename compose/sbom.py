"""What an image is made of, as a CycloneDX bill of materials: its Python packages and those of its base.

    python3 sbom.py SITE-PACKAGES BASE-PACKAGES > sbom.cdx.json

Run while the image is built, and kept in it as /opt/turnout/sbom.cdx.json. Standard library only.
Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def python_packages(folder: str) -> list[dict[str, Any]]:
    """A component for each distribution in a folder."""
    found = []
    for distribution in metadata.distributions(path=[folder]):
        about = distribution.metadata
        name, version = str(about["Name"]), distribution.version
        entry: dict[str, Any] = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
        }
        licence = about.get("License-Expression")
        if licence:
            entry["licenses"] = [{"expression": licence}]
        found.append(entry)
    return found


def debian_packages(listed: Path) -> list[dict[str, Any]]:
    """A component for each line `NAME VERSION ARCHITECTURE` of the list that the base stage made of itself."""
    rows = [line.split() for line in listed.read_text("utf-8").splitlines()]
    return [
        {"type": "library", "name": n, "version": v, "purl": f"pkg:deb/debian/{n}@{v}?arch={a}"} for n, v, a in rows
    ]


def bill(folder: str, base: Path) -> dict[str, Any]:
    """The whole document, in an order that does not depend on the file system."""
    components = [*python_packages(folder), *debian_packages(base)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": sorted(components, key=lambda c: str(c["purl"])),
    }


if __name__ == "__main__":
    json.dump(bill(sys.argv[1], Path(sys.argv[2])), sys.stdout, indent=1)
