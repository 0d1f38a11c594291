"""Memory: what is left, work that would not fit refused before it begins, and an answer where it does not suffice."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphs.errors import MeshcastError, OutOfMemoryError

SHARE_KEPT = 0.5  # of the memory that is left: what is kept to be read again takes no more


def available_memory() -> int | None:
    """Return the bytes left by the system's count, the limits of this process and those of its container, or of its
    job on a cluster; None where none is known."""
    known = [amount for amount in (_of_system(), _of_process(), _of_container()) if amount is not None]
    return min(known, default=None)


def held_memory() -> int:
    """Return the bytes of main memory that this process holds now; 0 where that is not known."""
    return _status("VmRSS") or 0


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has held at a time."""
    if (peak := _status("VmHWM")) is not None:  # getrusage counts in what a process was before it ran another program
        return peak
    import resource  # which Windows lacks

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@contextmanager
def answered_out_of_memory(what: Callable[[], str], remedy: Callable[[int], str]) -> Iterator[None]:
    """Raise OutOfMemoryError where a block runs out of memory, of the machine or of a GPU.

    what: what ran out of it, the subject of a sentence. remedy: whole sentences on what would take less, given the
        bytes of main memory that the process held then. Both are asked once the block's memory is free again.
    """
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        wanted, left, held = _wanted(str(error)), memory_in_words(), held_memory()
        error.__traceback__ = None  # whose frames hold what was computed
    raise OutOfMemoryError(f"{what()} ran out of memory{wanted}; {left}. {remedy(held)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory, of the machine or of a GPU, did not suffice."""
    if isinstance(error, MemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "Cannot allocate memory")
    if isinstance(error, RuntimeError):  # of PyTorch, a GPU's too, and of C++
        return any(word in str(error) for word in words)
    return type(error).__name__ == "ResourceExhaustedError"  # of TensorFlow


def memory_in_words() -> str:
    """Return what this process holds, and what is left, in words."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        reserved = readable(torch.cuda.memory_reserved())
        return f"this process holds {reserved} of the GPU's {readable(total)}, of which {readable(free)} are free"
    held, left = _status("VmRSS"), available_memory()
    words = [f"this process holds {readable(held)}"] if held is not None else []
    words += [f"{readable(max(left, 0))} are left"] if left is not None else []
    return ", and ".join(words) or "how much is left is not known here"


def _wanted(message: str) -> str:
    """Return what was asked for when memory ran out, where the message of a library says so."""
    if found := re.search(r"allocate (\d+) bytes", message):
        return f" when {readable(int(found[1]))} more were asked for"
    if found := re.search(r"allocate ([\d.]+ [KMGTP]?i?B)", message):
        return f" when {found[1]} more were asked for"
    return ""


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


def _of_process() -> int | None:
    """Return what the limits that a shell or a scheduler has set for this process leave of its address space."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    left = []
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most, held = resource.getrlimit(limit)[0], _status(name)
        if most != resource.RLIM_INFINITY and held is not None:
            left.append(most - held)
    return min(left, default=None)


def _status(name: str) -> int | None:
    """Return bytes that Linux counts of this process, as VmRSS; None elsewhere."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _of_container(root: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return what the control group of this process, and those around it, leave; files that may go count as free."""
    paths = ["/"]
    with suppress(OSError):  # a job on a cluster has a group of its own below those of the machine
        paths += [line.rpartition("::")[2] for line in mine.read_text().splitlines() if line.startswith("0::")]
    left = []
    for folder in {folder for path in paths for folder in _upwards(root, path)}:
        try:
            limit, held = (folder / "memory.max").read_text().strip(), int((folder / "memory.current").read_text())
            if limit != "max":
                left.append(int(limit) - held + _reclaimable(folder))
        except (OSError, ValueError):
            continue
    return min(left, default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _reclaimable(folder: Path) -> int:
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
