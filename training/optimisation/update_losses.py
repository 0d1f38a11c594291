"""The loss of each update: the mean over the batches that make it, and over all processes."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from training.early_end import not_finite


class UpdateLosses:
    """Losses of the updates since the last row of the log.

    whole: means over all processes, scalars each. update: the last that is among them.
    """

    def __init__(self) -> None:
        self.whole: list[Tensor] = []
        self.update = 0
        self._unread: list[tuple[int, Tensor, Tensor]] = []  # update, loss in this process, times of its samples

    def add(self, update: int, loss: Tensor, times: Tensor) -> None:
        """Take note of the loss of an update in this process, a tensor still: reading it would wait for the device."""
        self._unread.append((update, loss, times))

    def exchange(self, trainer: L.Trainer, number: int) -> tuple[int, str, int]:
        """Take the means over all processes, all of which call this after the same update.

        Return the highest `number` of all, which of the losses was not finite, and the process in which it was first;
        "" and -1 where all were.
        """
        unread, self._unread, self.update = self._unread, [], trainer.global_step
        own = [loss for _, loss, _ in unread]
        if trainer.world_size == 1:
            self.whole += own
            faults = (not_finite(*each) for each in unread if not torch.isfinite(each[1]))
            fault = next(faults, "")
            return number, fault, 0 if fault else -1
        sent = torch.stack([torch.as_tensor(float(number)), *(loss.double().cpu() for loss in own)])
        found = trainer.strategy.all_gather(sent.to(trainer.strategy.root_device)).cpu()  # [process, 1 + update]
        self.whole += list(found[:, 1:].mean(dim=0))
        faulty = (~torch.isfinite(found[:, 1:])).nonzero()
        if len(faulty) == 0:
            return int(found[:, 0].max()), "", -1
        at, process = sorted((int(update), int(process)) for process, update in faulty)[0]
        update, _, times = unread[at]
        loss = found[process, 1 + at]
        if process == trainer.global_rank:
            return int(found[:, 0].max()), not_finite(update, loss, times), process
        return int(found[:, 0].max()), f"The loss of update {update} is {float(loss):g} in process {process}.", process
