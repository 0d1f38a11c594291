"""What happens in a training of several processes where one of them is gone: the others say which."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from graphs.errors import MeshcastError
from training.early_end import DivergedError
from training.processes import RollCall

PATIENCE = 20.0  # seconds in which processes end by themselves once one of them has


class LostProcesses(L.Callback):
    """Raises LostProcessError, which names the process that is gone, in place of a connection's error."""

    def __init__(self) -> None:
        self.roll_call: RollCall | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and self.roll_call is None:
            self.roll_call = RollCall()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self.roll_call is None or not isinstance(exception, Exception):
            return
        self.raise_lost(exception)
        if "reduction in the prior iteration" in str(exception):
            raise MeshcastError(
                "This network has weights that no gradient reaches, and processes wait for those. Set "
                "training.strategy=ddp_find_unused_parameters_true."
            ) from exception
        if not isinstance(exception, DivergedError) and not getattr(exception, "in_all_processes", False):
            code = exception.exit_code if isinstance(exception, MeshcastError) else 1
            self.roll_call.say(code, str(exception) or type(exception).__name__)

    def raise_lost(self, error: Exception) -> None:
        """Raise which process is gone, where an error comes from a connection that broke."""
        if self.roll_call is not None and (lost := self.roll_call.lost(error)) is not None:
            raise lost from error

    def close(self) -> None:
        """Leave nothing that waits for a call."""
        if self.roll_call is not None:
            self.roll_call.close()


def leave_time_to_end() -> None:
    """Have Lightning's launcher wait a while before it kills all processes since one of them has ended."""
    terminate_all = _ChildProcessObserver._terminate_all
    if getattr(terminate_all, "patient", False):
        return

    def patiently(observer: Any) -> None:
        time.sleep(PATIENCE)
        terminate_all(observer)

    patiently.patient = True  # type: ignore[attr-defined]
    _ChildProcessObserver._terminate_all = patiently  # type: ignore[method-assign, assignment]
