"""One process at a time writes an output: a lock the system releases when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from graphs.atomic_file import explain, refuse_address
from graphs.errors import MeshcastError
from graphs.temporary_files import remove_orphans, short_name

try:
    import fcntl
except ImportError:  # no Unix
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

CANNOT = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
JOBS = {"SLURM_JOB_ID": "Slurm job", "PBS_JOBID": "PBS job", "LSB_JOBID": "LSF job", "JOB_ID": "job"}

_held: dict[tuple[str, int], int] = {}  # descriptors by lock file and thread


class InUseError(MeshcastError):
    """Another process writes the same output."""


@contextlib.contextmanager
def output_lock(output: str | Path, *, folder: bool = False, remedy: str = "") -> Iterator[None]:
    """Hold an output for this process within a block; a block within it, of the same output, holds it too.

    What dead processes left of it is removed first. A file system without locks is named in a warning.

    folder: the output is a folder that takes many files, and is made; else a file, or a folder that is written whole.
    remedy: what a message ends with, as the option that names another place.
    Raises InUseError, which names the holder, where another process has it, and MeshcastError where nothing can be
    written there.
    """
    path = Path(output)
    if "\0" in str(path):
        raise MeshcastError(f"No file system takes the name {str(path)!r}: it holds the character NUL.")
    refuse_address(path)
    place = path if folder else path.parent
    lock = place / (".lock" if folder else f".{short_name(path.name)}.lock")
    key = (os.path.realpath(lock), threading.get_ident())
    if key in _held:
        yield
        return
    made = [parent for parent in (place, *place.parents) if not parent.exists()]
    try:
        try:
            place.mkdir(parents=True, exist_ok=True)
            descriptor = _acquired(lock, path)
        except OSError as error:
            if lock.is_symlink():
                raise MeshcastError(f"Cannot lock {path}: {lock} is a symbolic link. Remove it.") from None
            raise MeshcastError(f"{explain(path, error)} {remedy}".rstrip()) from None
        if descriptor is None:
            log.warning("%s lies on a file system without locks: see that no other process writes it now.", path)
            yield
            return
        _held[key] = descriptor
        try:
            remove_orphans(place, None if folder else path.name)
            yield
        finally:
            if _held.pop(key, None) is not None:  # a forked child has none
                with contextlib.suppress(OSError):
                    lock.unlink()  # while it is held: who opens it later makes a new one, see `_acquired`
                os.close(descriptor)
    finally:
        with contextlib.suppress(OSError):
            for parent in made:  # where nothing was written in the end
                parent.rmdir()


def _acquired(lock: Path, output: Path) -> int | None:
    """Return the descriptor of a lock that is held from now on; None where the file system has no locks."""
    if fcntl is None:
        return None
    while True:
        descriptor = _opened(lock)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(descriptor, lock):
                with contextlib.suppress(OSError):  # a full disk locks, too
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, _holder().encode())
                return descriptor
            os.close(descriptor)  # the holder before us has just removed it
        except OSError as error:
            if error.errno in CANNOT:
                with contextlib.suppress(OSError):
                    lock.unlink()
                os.close(descriptor)
                return None
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                raise
            with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
                holder = _describe(file.read(4096))
            raise InUseError(
                f"{output} is being written by {holder}. Wait until it is done, end it, or choose another name."
            ) from None


def _opened(lock: Path) -> int:
    """Return the descriptor of a lock file; one that another user left can be read, which is enough to lock it."""
    try:
        return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        if not lock.is_file():
            raise
        return os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)


def _same(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.lstat())
    except FileNotFoundError:
        return False


def _holder() -> str:
    jobs = [f"{title} {os.environ[name]}" for name, title in JOBS.items() if os.environ.get(name)]
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return json.dumps({"process": os.getpid(), "host": socket.gethostname(), "job": ", ".join(jobs), "since": now})


def _describe(content: str) -> str:
    """Return who holds a lock, by the content of its file, which another may be writing just now."""
    try:
        found = {name: str(value) for name, value in json.loads(content).items()}
        job = f" ({found['job']})" if found["job"] else ""
        return f"process {found['process']} on {found['host']}{job}, since {found['since']}"
    except (ValueError, KeyError, AttributeError):
        return "another process"


def _forget() -> None:
    """Leave the locks to the parent: a child that lives on would hold them beyond its parent's end."""
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
