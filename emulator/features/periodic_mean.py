"""The mean of the training part for the hour of day, the month, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.foundation.time_step import to_datetime
from emulator.normalise import read_in_chunks
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

Period = Literal["none", "hour", "month", "hour_month"]
NUM_BINS: dict[str, int] = {"none": 1, "hour": 24, "month": 12, "hour_month": 24 * 12}


class PeriodicMean(nn.Module):
    """The mean of each predicted variable at each node, by hour of day and month.

    mean: [bin, node, variable], prognostic then diagnostic variables.
    seen: [bin] whether the training part holds such an hour or month.
    """

    def __init__(self, period: Period, task: Task, mesh: Mesh) -> None:
        super().__init__()
        self.period, self.names = period, names_of(task.predicted)
        self.num_prognostic = len(task.prognostic)
        self.mean = nn.Buffer(torch.full((NUM_BINS[period], mesh.num_nodes, len(self.names)), torch.nan))
        self._held: Tensor | None
        self.register_buffer("_held", None, persistent=False)
        self.seen = nn.Buffer(torch.zeros(NUM_BINS[period], dtype=torch.bool))

    def hold(self, nodes: NDArray[np.int64]) -> None:
        """Have `at` and `over` give some nodes alone, in this order."""
        self._held = self.mean.index_select(1, torch.from_numpy(nodes))

    @property
    def _mean(self) -> Tensor:
        return self.mean if self._held is None else self._held

    def fit(self, part: TrainingPart, transform: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        """Take the mean over the training part, of `transform`ed values; NaN (masked nodes) is not counted."""
        total = np.zeros(self.mean.shape)
        count = np.zeros(self.mean.shape)
        for index, values, _ in read_in_chunks(part.fields, self.names, part.available, part.rows, overlap=0):
            bins = bin_of(part.fields.times[index], self.period)
            transformed = transform(torch.from_numpy(values)).numpy()
            for bin_, fields in zip(bins, transformed, strict=True):  # in half the time of np.add.at
                total[bin_] += np.nansum(fields, axis=0)
                count[bin_] += (~np.isnan(fields)).sum(axis=0)
            self.seen[np.unique(bins)] = True
        with np.errstate(invalid="ignore"):
            self.mean.copy_(torch.from_numpy(total / count))

    def at(self, valid_time: NDArray[np.int64], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return prognostic and diagnostic climatology [batch, 1, node, variable] at `valid_time` [batch].

        Raises MeshcastError at an hour or month the training part does not hold.
        """
        mean = self._mean.index_select(0, self._bins(valid_time)).to(dtype).unsqueeze(1)
        return mean[..., : self.num_prognostic], mean[..., self.num_prognostic :]

    def over(self, valid_time: NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        """Return the climatology [batch, 1, node, prognostic] averaged over times [batch, time]; raises as `at`."""
        bins = self._bins(valid_time.ravel()).reshape(valid_time.shape)
        share = nn.functional.one_hot(bins, len(self.mean)).to(dtype).mean(dim=1)  # [batch, bin]
        mean = self._mean[..., : self.num_prognostic].to(dtype).nan_to_num()  # hours and months not seen count nothing
        masked = self._mean[self.seen, :, : self.num_prognostic].isnan().all(dim=0)
        return torch.einsum("bh,hnv->bnv", share, mean).masked_fill(masked, torch.nan).unsqueeze(1)

    def _bins(self, valid_time: NDArray[np.int64]) -> Tensor:
        """Return the bin [time] of each time, all of them seen."""
        bins = torch.as_tensor(bin_of(valid_time, self.period), device=self.mean.device)
        unseen = ~self.seen.index_select(0, bins).cpu().numpy()
        if unseen.any():
            raise MeshcastError(
                f"The climatology by {self.period.replace('_', ' and ')} has seen no training date like "
                f"{to_datetime(valid_time[unseen])[0]}. Train on a longer part, or choose period: none."
            )
        return bins


def bin_of(valid_time: NDArray[np.int64], period: Period) -> NDArray[np.int64]:
    """Return the hour (0 to 23), the month (0 to 11) or both (month · 24 + hour) of each time, in UTC."""
    hour = np.asarray(valid_time, dtype=np.int64) // 3600 % 24
    month = to_datetime(valid_time).astype("datetime64[M]").astype(np.int64) % 12
    return {"none": np.zeros_like(hour), "hour": hour, "month": month, "hour_month": month * 24 + hour}[period]
