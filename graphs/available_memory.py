"""Memory: what is left on this machine, and work that would not fit refused before it begins."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from graphs.errors import MeshcastError

SHARE_KEPT = 0.5  # of the memory that is left: what is kept to be read again takes no more


def available_memory() -> int | None:
    """Return the bytes left by the system's count and by the container's limit; None where neither is known."""
    known = [amount for amount in (_of_system(), _of_container()) if amount is not None]
    return min(known, default=None)


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has held at a time."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):  # getrusage counts in what a process was before it was another program's
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # which Windows lacks

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def refuse_too_large(num_bytes: int, what: str, remedy: str) -> None:
    """Raise MeshcastError where `what` needs more memory than is left."""
    left = available_memory()
    if left is not None and num_bytes > left:
        raise MeshcastError(
            f"{what} needs about {readable(num_bytes)} of memory while it is built, but {readable(left)} are left. "
            f"{remedy}"
        )


def readable(num_bytes: float) -> str:
    """Return a number of bytes for a person, such as 1.5 GiB."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(int(math.log(max(num_bytes, 1), 1024)), len(units) - 1)
    scaled = num_bytes / 1024**power
    return f"{scaled:.2g} {units[power]}" if scaled < 10 else f"{scaled:,.0f} {units[power]}"


def _of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # elsewhere than on Linux: all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _of_container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
