"""Checkpoints to resume from: each carries a digest of its content, and a run keeps the newest few.

last.ckpt is the newest, last-1.ckpt the one before it. One that was damaged is refused, and the one before it taken.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError

log = logging.getLogger(__name__)

DIGEST = "meshcast_digest"


def checkpoint_path(folder: Path, age: int = 0) -> Path:
    """Return where the newest checkpoint of a run lies, or the one that many before it."""
    return folder / (f"last-{age}.ckpt" if age else "last.ckpt")


def checkpoints_of(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder, the newest first."""
    earlier = sorted(folder.glob("last-*.ckpt"), key=lambda path: (len(path.name), path.name))
    return [path for path in (checkpoint_path(folder), *earlier) if path.is_file()]


def resume_from(folder: Path) -> tuple[Path | None, int]:
    """Return the newest checkpoint that is whole, and the updates behind it; None and 0 where the run has none yet.

    Raises MeshcastError where all are damaged.
    """
    faults: list[str] = []
    for path in checkpoints_of(folder):
        try:
            updates = updates_done(path)
        except MeshcastError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            log.warning("%s The run goes on from %s, after update %d.", fault, path.name, updates)
        return path, updates
    if faults:
        which = "it" if len(faults) == 1 else "them"
        raise MeshcastError("\n".join([*faults, f"Remove {which} to start the run again."]))
    return None, 0


def updates_done(checkpoint: Path) -> int:
    """Return the updates behind a checkpoint, 0 without one; raise MeshcastError where it is damaged."""
    return int(read_checkpoint(checkpoint)["global_step"]) if checkpoint.is_file() else 0


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint. Nothing in the file is executed.

    Raises MeshcastError where it is damaged; those of version 0.1 have no digest to tell a changed number by.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        int(content["global_step"])
    except Exception as error:
        raise MeshcastError(
            f"{path} cannot be resumed from: it is truncated, or no checkpoint of tensors and plain values "
            f"({type(error).__name__})."
        ) from None
    if content.get(DIGEST) not in (None, digest_of(content)):
        raise MeshcastError(
            f"{path} cannot be resumed from: its content was changed since it was written, and does not match its "
            "digest."
        )
    return dict(content)


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write the content of a checkpoint. torch, given the name, would hide why a disk refuses."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getbuffer())


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the digest of a checkpoint's content, but for the digest itself."""
    digest = hashlib.sha256()
    _add({key: value for key, value in content.items() if key != DIGEST}, digest)
    return digest.hexdigest()


@contextmanager
def new_checkpoint(folder: Path, keep: int) -> Iterator[Path]:
    """Yield a name to write a checkpoint to, which becomes last.ckpt; those before it move back, `keep` in all."""
    with atomic_file(checkpoint_path(folder)) as temporary:
        yield temporary
        _move_back(folder, keep)


def forget_earlier(folder: Path, keep: int = 1) -> None:
    """Remove all but the newest so many checkpoints."""
    for path in checkpoints_of(folder)[keep:]:
        path.unlink(missing_ok=True)


def _move_back(folder: Path, keep: int) -> None:
    forget_earlier(folder, max(keep - 1, 1))
    for age in range(keep - 1, 1, -1):
        if (younger := checkpoint_path(folder, age - 1)).is_file():
            os.replace(younger, checkpoint_path(folder, age))
    newest, before = checkpoint_path(folder), checkpoint_path(folder, 1)
    if keep > 1 and newest.is_file():
        try:
            os.link(newest, before)  # so that a last.ckpt is there at every moment
        except OSError:  # a file system without links
            os.replace(newest, before)


def _add(value: Any, digest: Any) -> None:
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"{{{len(value)}".encode())
        for key, item in value.items():
            digest.update(repr(key).encode() + b":")
            _add(item, digest)
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for item in value:
            _add(item, digest)
    else:
        digest.update(repr(value).encode() + b";")
