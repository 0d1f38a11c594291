"""Files that are whole or not there: written beside their final name, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs.errors import MeshcastError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path`, which takes its place once a block ends well; raise MeshcastError where it cannot."""
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        refuse_existing(final, overwrite=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except OSError as error:
        raise MeshcastError(explain(final, error)) from error
    finally:
        temporary.unlink(missing_ok=True) if final.parent.is_dir() else None


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise MeshcastError where the output is there already or is a folder."""
    if path.is_dir():
        raise MeshcastError(f"Cannot write the file {path}: a folder of that name is there. Choose another name.")
    if path.exists() and not overwrite:
        raise MeshcastError(f"The output {path} exists. Choose another name, or overwrite it with --overwrite.")


def refuse_unwritable(path: str | Path) -> None:
    """Raise MeshcastError where nothing can be written beside `path`, before long work; missing folders are made."""
    final = Path(path)
    probe = final.with_name(f".{final.name}.{os.getpid()}.probe")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MeshcastError(explain(final, error)) from None


def output_folder(path: str | Path) -> Path:
    """Return a folder for several files, made where it is missing; raise MeshcastError where it cannot be."""
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise MeshcastError(f"Cannot write into {folder}: it is a file, not a folder. Choose another name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeshcastError(explain(folder, error)) from None
    return folder


@contextmanager
def system_errors(path: str | Path, size: int) -> Iterator[None]:
    """Raise the system's own error for `size` bytes beside `path` where HDF5, which hides it, fails to write."""
    try:
        yield
    except RuntimeError:
        probe = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.probe")
        try:
            with probe.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
        finally:
            probe.unlink(missing_ok=True)
        raise


def explain(path: Path, error: OSError) -> str:
    """Return why a path could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"No room left: the disk is full ({os.strerror(error.errno)}), so that {path} was not written. Nothing "
            "stands under that name that did not before. Free some space or choose another disk."
        )
    return f"Cannot write {path}: {error.strerror or error}. Choose a folder that exists and that you may write to."
