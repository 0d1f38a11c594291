"""Files and folders beside a final name that belong to one process alone, and the removal of those that died."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from functools import cache
from pathlib import Path

LONGEST_NAME = 160  # bytes of a final name within a temporary one; file systems take 255 for all
OWNED = re.compile(r"\.(?P<name>.+)\.(?P<host>\w+)-(?P<boot>\w+)-(?P<process>\d+)-\w+\.part")
ABANDONED = 86_400.0  # seconds without a change, after which a file of another machine belongs to nobody
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)

_ours: set[str] = set()  # temporary names in use by this process
_searched: set[Path] = set()  # folders this process has looked for orphans in


def new_file(final: Path) -> Path:
    """Return a new, empty file beside `final`, under a name nobody else has; a symbolic link is never followed."""
    path = _new_name(final)
    os.close(os.open(path, NEW_FILE, 0o666))
    return path


def new_folder(final: Path) -> Path:
    """Return a new, empty folder beside `final`, under a name nobody else has."""
    path = _new_name(final)
    path.mkdir()
    return path


def discard(path: Path | None) -> None:
    """Remove a temporary file or folder, where it still is."""
    if path is None:
        return
    _remove(path)
    _ours.discard(path.name)


def short_name(name: str) -> str:
    """Return the name of an output, cut where a hidden one beside it would be too long for a file system."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return name.encode()[: LONGEST_NAME - 17].decode(errors="ignore") + "-" + digest


def remove_orphans(folder: Path, of: str | None = None) -> None:
    """Remove what dead processes left in a folder.

    of: name of an output that this process has locked, whose temporary files therefore are nobody's.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = OWNED.fullmatch(path.name)
            if found is None or path.name in _ours:
                continue
            if (of is not None and found["name"] == short_name(of)) or _is_dead(path, found):
                _remove(path)


def _new_name(final: Path) -> Path:
    folder = final.parent
    if folder not in _searched:
        _searched.add(folder)
        remove_orphans(folder)
    name = f".{short_name(final.name)}.{_host()}-{_boot()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    _ours.add(name)
    return folder / name


def _is_dead(path: Path, found: re.Match[str]) -> bool:
    """Return whether the process that made a temporary file has ended: said of another machine only after a day."""
    if found["host"] != _host():
        return not path.is_dir() and time.time() - path.lstat().st_mtime > ABANDONED
    process = int(found["process"])
    if found["boot"] != _boot() or process == os.getpid():  # our own are known; another had our number before
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@cache
def _host() -> str:
    """Return the machine's name, with the space of process numbers where a container has its own."""
    space = ""
    with contextlib.suppress(OSError):
        space = "_" + re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    return (re.sub(r"\W", "", socket.gethostname(), flags=re.ASCII)[:24] or "host") + space


@cache
def _boot() -> str:
    """Return what tells this start of the machine from others; 0 if unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8].strip()
    return "0"
