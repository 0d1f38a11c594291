"""Files and folders that are whole or not there: written beside their final name, then renamed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs.errors import MeshcastError
from graphs.temporary_files import discard, new_file, new_folder, short_name

EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux, renameat2(2)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a name beside `path`, which takes its place once a block ends well; raise MeshcastError where it cannot."""
    final, temporary = Path(path), None
    try:
        refuse_existing(final, overwrite=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = new_file(final)
        yield temporary
        put(temporary, final)
    except OSError as error:
        raise MeshcastError(explain(final, error)) from error
    finally:
        discard(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of text, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(
    path: str | Path, replaces: Callable[[Path], bool] = lambda old: False, overwrite: bool = True
) -> Iterator[Path]:
    """Yield the name of a folder to make, which takes the place of `path` once a block ends well.

    What stood there before stays until then.

    replaces: whether the folder that stands there is ours to replace; nothing else ever is.
    overwrite: whether anything may be replaced at all.
    Raises MeshcastError where it may not, and where the new one cannot be written.
    """
    final, temporary = Path(path), None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        recover(final)
        refuse_other(final, replaces, overwrite)
        temporary = new_folder(final)
        new = temporary / final.name
        yield new
        for folder, _, files in os.walk(new):
            for name in files:
                sync(Path(folder, name))
            sync(Path(folder))
        refuse_other(final, replaces, overwrite)  # again: the block may have taken hours
        put_folder(new, final)
    except OSError as error:
        raise MeshcastError(explain(final, error)) from error
    finally:
        discard(temporary)


def refuse_address(path: str | Path) -> None:
    """Raise MeshcastError where an output is an address, such as https:// or s3://, rather than a file here."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        raise MeshcastError(
            f"Outputs are written on this machine, but {path} is an address. Write a file here and copy it there."
        )


def refuse_existing(path: Path, overwrite: bool = False) -> None:
    """Raise MeshcastError where the output is there already, is a folder, or is a link that leads nowhere."""
    _refuse_astray(path)
    if path.is_dir():
        raise MeshcastError(f"Cannot write the file {path}: a folder of that name is there. Choose another name.")
    _refuse_present(path, overwrite)


def refuse_other(path: Path, replaces: Callable[[Path], bool], overwrite: bool = True) -> None:
    """Raise MeshcastError where something stands in place of a folder to write that is not ours to replace."""
    _refuse_astray(path)
    _refuse_present(path, overwrite)
    if path.exists() and not replaces(path):
        raise MeshcastError(
            f"Cannot overwrite {path}: it is nothing that Meshcast wrote. Choose another name, or remove it yourself."
        )


def _refuse_astray(path: Path) -> None:
    refuse_address(path)
    if path.is_symlink() and not path.exists():
        raise MeshcastError(explain(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))))


def _refuse_present(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise MeshcastError(f"The output {path} exists. Choose another name, or overwrite it with --overwrite.")


def refuse_unwritable(path: str | Path) -> None:
    """Raise MeshcastError where nothing can be written beside `path`, before long work; missing folders are made."""
    final = Path(path)
    refuse_address(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        discard(new_file(final))
    except OSError as error:
        raise MeshcastError(explain(final, error)) from None


def output_folder(path: str | Path) -> Path:
    """Return a folder for several files, made where it is missing; raise MeshcastError where it cannot be."""
    folder = Path(path)
    refuse_address(folder)
    if folder.exists() and not folder.is_dir():
        raise MeshcastError(f"Cannot write into {folder}: it is a file, not a folder. Choose another name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeshcastError(explain(folder, error)) from None
    return folder


@contextmanager
def system_errors(path: str | Path, size: int) -> Iterator[None]:
    """Raise the system's own error for `size` bytes at `path` where HDF5, which hides it, fails to write.

    HDF5 speaks of an "HDF error" on a disk that becomes full, and of a "Permission denied" on one that is.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if full_disk(error):
            raise
        with contextlib.suppress(OSError):
            size = max(size, os.path.getsize(path) + 2**20)  # it failed to write more than it has
            os.truncate(path, 0)  # what it holds is lost, and would count as room that is missing
        probe = new_file(Path(path))
        try:
            with probe.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
        finally:
            discard(probe)
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(errno.EIO, f"{reason}, or the disk was full or failing", str(path)) from error


def of_the_system(error: BaseException) -> bool:
    """Whether an error is the system's, as of a disk that is full or broken, or a MeshcastError that tells of one."""
    return isinstance(error, OSError) or isinstance(error.__cause__, OSError)


def full_disk(error: BaseException | None) -> int | None:
    """Return the number by which the system said that a disk is full, None where it did not.

    What a library raised in tidying up after it counts too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__context__
    return None


def explain(path: Path, error: OSError) -> str:
    """Return why a path could not be written, and what to do."""
    if full := full_disk(error):
        return (
            f"No room left: the disk is full ({os.strerror(full)}), so that {path} was not written. Nothing "
            "stands under that name that did not before. Free some space or choose another disk."
        )
    if astray := [str(place) for place in (path, *path.parents) if place.is_symlink() and not place.exists()]:
        return f"Cannot write {path}: {astray[0]} is a symbolic link that leads nowhere. Choose another name."
    if "temporary directory" in str(error.strerror):  # Python's tempfile, whatever library asks for it
        return f"Cannot write {path}: {error.strerror}. Let TMPDIR name a folder that you may write to."
    return f"Cannot write {path}: {error.strerror or error}. Choose a folder that exists and that you may write to."


def put(temporary: Path, final: Path) -> None:
    """Give a whole file its final name, and have both on the disk when this returns."""
    sync(temporary)
    os.replace(temporary, final)
    sync(final.parent)


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk."""
    try:
        place = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # one may be allowed to write where one may not read, and Windows opens no folders
            return
        raise
    try:
        os.fsync(place)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some file systems sync no folders
            raise
    finally:
        os.close(place)


def recover(final: Path) -> None:
    """Put back the folder that a process was replacing when it died, on a file system that cannot exchange two."""
    aside = _aside(final)
    if os.path.lexists(aside) and not os.path.lexists(final):
        os.rename(aside, final)
    discard(aside)


def put_folder(new: Path, final: Path) -> None:
    """Put `new` under the name `final`, never leaving nothing there; what stood there lies in place of `new` then."""
    if not os.path.lexists(final):
        os.rename(new, final)
    elif not _exchange(new, final):
        aside = _aside(final)
        os.rename(final, aside)  # from here to the next line nothing stands there: see `recover`
        try:
            os.rename(new, final)
        except OSError:
            os.rename(aside, final)
            raise
        sync(final.parent)
        discard(aside)
    sync(final.parent)


def _aside(final: Path) -> Path:
    return final.with_name(f".{short_name(final.name)}.replaced")


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names at once, and return True; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(HERE, os.fsencode(first), HERE, os.fsencode(second), EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(second))
