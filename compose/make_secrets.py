"""Makes the secrets of a deployment, a file each: what is there already is kept. Needs Python's standard library only.

    python3 compose/make_secrets.py [FOLDER]

The containers run as users of their own, so they must be able to read the files; the folder keeps everyone else out.
"""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_OWN = ("admin_keys", "grafana_password", "metrics_key")
_YOURS = ("openai_key", "anthropic_key")  # empty until you put a key there; the component says that it has none
_CLUSTERS = {
    "nats_cluster": ("nats-1", "nats-2", "nats-3"),
    "nats_cluster_kubernetes": ("nats-0.nats", "nats-1.nats", "nats-2.nats"),
}


def make(folder: Path, nats_conf: Path) -> None:
    """Write what is missing. `nats_passwords` is for the server and has everyone's; `nats_cluster` is for several."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    users = re.findall(r"password: \$pw_([a-z0-9_-]+)", nats_conf.read_text("utf-8"))
    passwords = {user: _kept(folder / f"nats_{user}", secrets.token_hex(24)) for user in users}
    for name in _OWN:
        _kept(folder / name, secrets.token_urlsafe(24))
    # The first is yours; the second is Prometheus's, which reads the metrics with it.
    _kept(folder / "gateway_keys", f"{secrets.token_urlsafe(24)}\n{_kept(folder / 'metrics_key', '')}")
    for name in _YOURS:
        _kept(folder / name, "")
    _write(folder / "nats_passwords", "".join(f'pw_{user}: "{password}"\n' for user, password in passwords.items()))
    cluster = _kept(folder / "cluster_password", secrets.token_hex(24))
    for name, hosts in _CLUSTERS.items():
        routes = ", ".join(f'"nats-route://cluster:{cluster}@{host}:6222"' for host in hosts)
        _write(folder / name, f'pw_cluster: "{cluster}"\ncluster_routes: [{routes}]\n')


def _kept(path: Path, new: str) -> str:
    if not path.exists():
        _write(path, new + "\n")
    return path.read_text("utf-8").strip()


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o644)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else _HERE / "secrets", _HERE / "nats" / "nats.conf")
