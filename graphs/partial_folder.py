"""A folder that is made part by part, so that the same command goes on where an earlier one was killed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from graphs.atomic_file import explain, put_folder, recover, refuse_other, sync, write_text
from graphs.errors import MeshcastError
from graphs.temporary_files import discard, new_folder, short_name

log = logging.getLogger(__name__)

ENDING = ".parts"  # of the folder beside an output whose parts are kept
INPUTS = "inputs.json"  # in it: a digest of all that the parts are made of


@dataclass(frozen=True)
class PartialFolder:
    """The folder in which an output is made, and a record of each of its parts that is done.

    folder: holds the output under its own name, the records, and what else its making needs.
    output: the folder that becomes the final one.
    """

    folder: Path
    output: Path

    def finish(self, part: str, found: Mapping[str, Any], files: Mapping[str, int] | None = None) -> None:
        """Record that a part is done.

        found: what is known of it, as JSON has it. files: checksums of the files it has written, by path in the folder.
        """
        content = json.dumps({"found": found, "files": files or {}})
        write_text(self._record(part), json.dumps({"content": content, "checksum": zlib.crc32(content.encode())}))

    def found(self, part: str) -> dict[str, Any] | None:
        """Return what is known of a part that is done; None where it is not, or where something of it is damaged."""
        try:
            record = json.loads(self._record(part).read_text(encoding="utf-8"))
            if zlib.crc32(record["content"].encode()) != record["checksum"]:
                return None
            content: dict[str, Any] = json.loads(record["content"])
            if any(checksum(self.folder / name) != known for name, known in content["files"].items()):
                return None
            found: dict[str, Any] = content["found"]
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @property
    def any_part(self) -> bool:
        """Return whether a part is done."""
        return any(self.folder.glob("*.done"))

    def _record(self, part: str) -> Path:
        return self.folder / f"{part}.done"


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file's bytes."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            value = zlib.crc32(block, value)
    return value


@contextmanager
def partial_folder(
    path: str | Path,
    inputs: str | None = None,
    replaces: Callable[[Path], bool] = lambda old: False,
    overwrite: bool = True,
    notice: Callable[[str], None] = log.info,
) -> Iterator[PartialFolder]:
    """Yield where to make a folder, which takes the place of `path` once a block ends well.

    What stood there before stays until then. Who calls holds the lock of the output.

    inputs: a digest of all that the parts depend on. Parts that are done stay where the block does not end well, in a
        folder `.parts` beside the output, and are found again by whoever gives the same digest. None of what is made at
        one go: nothing stays.
    replaces, overwrite: see `graphs.atomic_file.atomic_folder`.
    notice: takes a line on parts that were found, or thrown away.
    """
    final = Path(path)
    partial: PartialFolder | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        recover(final)
        refuse_other(final, replaces, overwrite)
        folder = _taken_up(final, inputs, notice)
        partial = PartialFolder(folder, folder / final.name)
        yield partial
        for below, _, files in os.walk(partial.output):
            for name in files:
                sync(Path(below, name))
            sync(Path(below))
        refuse_other(final, replaces, overwrite)  # again: the block may have taken hours
        put_folder(partial.output, final)
        _remove(partial.folder, final)
    except BaseException as error:
        kept = _kept(partial, inputs, final)
        if isinstance(error, OSError):
            raise MeshcastError(explain(final, error) + kept) from error
        if kept and isinstance(error, Exception):
            notice(kept.strip())
        raise


def _kept(partial: PartialFolder | None, inputs: str | None, final: Path) -> str:
    """Return where parts stay for the same command; remove the folder where none is done."""
    if partial is None:
        return ""
    if inputs is None or not partial.any_part:
        _remove(partial.folder, final)
        return ""
    return (
        f" The parts that are done stay in {partial.folder}: the same command goes on with them. Remove that folder "
        "if it should not."
    )


def _taken_up(final: Path, inputs: str | None, notice: Callable[[str], None]) -> Path:
    """Return the folder of the parts: the one that is there where it was made of the same inputs, else a new one."""
    folder = final.with_name(short_name(final.name) + ENDING)
    if os.path.lexists(folder):
        if (digest := _digest(folder)) is None and inputs is not None:
            raise MeshcastError(
                f"{folder} is in the way of what is written beside {final.name} until it is whole, and is nothing that "
                "Meshcast wrote. Choose another name, or remove it yourself."
            )
        if digest is not None and digest == inputs:
            notice(f"Going on with the parts that are done in {folder}.")
            return folder
        if digest is not None:
            notice(f"{folder} holds parts made of another input, with another option or version: made anew.")
            _remove(folder, final)
    temporary = new_folder(final)
    if inputs is None:
        return temporary
    write_text(temporary / INPUTS, json.dumps({"inputs": inputs, "versions": _versions()}))
    os.rename(temporary, folder)  # so that no folder of ours ever lacks its digest
    discard(temporary)
    return folder


def _remove(folder: Path, final: Path) -> None:
    """Remove a folder of parts, which is a temporary one of this process from the first moment on."""
    temporary = new_folder(final)
    with contextlib.suppress(OSError):
        os.rename(folder, temporary / "removed")
    discard(temporary)
    discard(folder)


def _digest(folder: Path) -> str | None:
    """Return the digest of what parts are made of, empty of those of another version; None where there are none."""
    try:
        found = None if folder.is_symlink() else json.loads((folder / INPUTS).read_text(encoding="utf-8"))
        return str(found["inputs"]) if found and found["versions"] == _versions() else "" if found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _versions() -> dict[str, str]:
    """Return the versions of what parts are made with."""
    found = {}
    for package in ("meshcast", "numpy", "torch", "zarr", "numcodecs"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
