"""How a checkpoint reaches the disk: whole, with the reason where it does not, and one reason for all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.plugins import TorchCheckpointIO

from graphs.errors import MeshcastError
from training.resumable import write_checkpoint


class PlainFiles(TorchCheckpointIO):
    """Writes a checkpoint where it is told to.

    Lightning's own way leads through the folder for temporary files, whose faults it lays on the run's or, where
    something may not be written, keeps to itself. Processes wait for each other once the first one has written:
    what the system refuses is kept until then, and raised by `raise_refusal`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._refusal: OSError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        try:
            write_checkpoint(checkpoint, Path(path))
        except OSError as error:
            self._refusal = error

    def raise_refusal(self) -> None:
        """Raise what the system refused in the last writing, if it did."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal


def write(trainer: L.Trainer, path: Path) -> None:
    """Write a checkpoint, for which all processes gather what one writes; the first one raises what was refused."""
    trainer.save_checkpoint(path)
    if isinstance(files := trainer.strategy.checkpoint_io, PlainFiles):
        files.raise_refusal()


@contextmanager
def ended_together(trainer: L.Trainer) -> Iterator[None]:
    """Have all processes end where the first one could not write; the first one says why, the others its exit code."""
    if trainer.world_size == 1:
        yield
        return
    fault: MeshcastError | None = None
    try:
        yield
    except MeshcastError as error:
        fault = error
    code = trainer.strategy.broadcast(0 if fault is None else fault.exit_code)
    if fault is not None:
        fault.in_all_processes = True  # type: ignore[attr-defined]
        raise fault
    if code:
        raise SystemExit(code)
