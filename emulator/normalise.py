"""Normalisation: what each variable's values and changes amount to in the training part."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emulator.fields import Fields
from emulator.task import Task
from graphs.errors import MeshcastError

log = logging.getLogger(__name__)

CHUNK_BYTES = 2**28  # of float64 values read at a go; sums over them take a few times as much


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics per variable, over all times, ensemble rows and nodes of the training part, in physical units.

    names: the variables, in the order of every array below, [variable] float64.
    mean, std: of the values; the two components of a vector have mean zero and share one std.
    tendency_std: root mean square of the change over one time step; shared by the two components of a vector.
    minimum, maximum: of the values.
    spatial_std: standard deviation over the nodes, averaged over times and ensemble rows.
    smallest_spatial_std, largest_spatial_std: the extremes of that.
    mean_field_std: standard deviation over the nodes of the fields' mean over times and ensemble rows, without what
    few samples add: the root of the covariance between the means of two halves, or zero.
    These three are None in checkpoints of version 0.1.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    tendency_std: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    spatial_std: NDArray[np.float64]
    smallest_spatial_std: NDArray[np.float64] | None = None
    largest_spatial_std: NDArray[np.float64] | None = None
    mean_field_std: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        fields: Fields,
        names: Sequence[str],
        partners: Mapping[str, str] | None = None,
        times: slice | NDArray[np.int64] = slice(None),
        ensemble: slice | Sequence[int] = slice(None),
        chunk: int = 24,
        stride: int = 1,
        also: Callable[[NDArray[np.int64], NDArray[np.float64]], None] | None = None,
    ) -> Statistics:
        """Return statistics of named variables, read `chunk` times at a go.

        partners: of each vector component, the other one.
        times: indices of the training part; missing dates among them are skipped, NaN (masked nodes) is not counted.
        stride: frames from one time step to the next.
        also: takes the indices and values of all times on the way, once each.
        A variable that never varies gets std 1, and a warning.
        Raises MeshcastError where a variable has no value, or an infinite one.
        """
        moments, tendency = Moments.zero(len(names)), Moments.zero(len(names))
        spatial = Moments.zero(len(names))
        total, count = np.zeros((2, 2, fields.mesh.num_nodes, len(names)))  # of two halves
        chosen_times = np.arange(len(fields.times))[times]
        middle = chosen_times.sum() / max(1, len(chosen_times))
        for index, values, follows in read_in_chunks(fields, names, times, ensemble, chunk, stride=stride):
            if also is not None:
                also(index[follows:], values[follows:])
            if len(infinite := np.asarray(names)[np.isinf(values).any(axis=(0, 1, 2))]):
                raise MeshcastError(
                    f"{fields.source} holds infinite values of {', '.join(infinite)} in its training part."
                )
            spatial = spatial.with_values(_std_over_nodes(values[follows:]))
            moments = moments.with_values(values[follows:])
            rows = values.shape[1]
            second = np.arange(rows) % 2 == 1 if rows > 1 else (index[follows:] > middle)[:, None]
            for half in (0, 1):
                chosen = values[follows:][np.broadcast_to(second == half, values[follows:].shape[:2])]
                total[half] += np.nansum(chosen, axis=0)
                count[half] += np.isfinite(chosen).sum(axis=0)
            tendency = tendency.with_values(np.diff(values, axis=0))
        if empty := [name for name, count in zip(names, moments.count, strict=True) if count == 0]:
            raise MeshcastError(
                f"The training part of {fields.source} has no value of {', '.join(empty)}: every date is missing or "
                "NaN. Choose other training dates, or leave the variable out."
            )
        constant = moments.minimum == moments.maximum
        for name, value in zip(np.asarray(names)[constant], moments.mean[constant], strict=True):
            log.warning(
                "%s is %g everywhere in the training part of %s; its std is taken as 1.", name, value, fields.source
            )
        statistics = cls(
            names=tuple(names),
            mean=moments.mean,
            std=np.where(constant, 1.0, np.sqrt(moments.variance)),
            tendency_std=tendency.root_mean_square,
            minimum=moments.minimum,
            maximum=moments.maximum,
            spatial_std=spatial.mean,
            smallest_spatial_std=spatial.minimum,
            largest_spatial_std=spatial.maximum,
            mean_field_std=_common_std(*np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)),
        )._with_shared_scales(partners or {}, moments.root_mean_square)
        unchanging = ~(statistics.tendency_std > 0)  # a static variable, or a single time
        return replace(statistics, tendency_std=np.where(unchanging, 1.0, statistics.tendency_std))

    def _with_shared_scales(self, partners: Mapping[str, str], root_mean_square: NDArray[np.float64]) -> Statistics:
        mean, std, tendency_std = self.mean.copy(), self.std.copy(), self.tendency_std.copy()
        for name, partner in partners.items():
            if name not in self.names or partner not in self.names:
                continue
            pair = [self.names.index(name), self.names.index(partner)]
            size = float(np.sqrt(np.mean(root_mean_square[pair] ** 2)))
            mean[pair], std[pair] = 0.0, size or 1.0
            tendency_std[pair] = np.sqrt(np.mean(self.tendency_std[pair] ** 2))
        return replace(self, mean=mean, std=std, tendency_std=tendency_std)

    def select(self, names: Sequence[str]) -> Statistics:
        """Return the same statistics of some variables, in the order named."""
        index = [self.names.index(name) for name in names]
        return Statistics(tuple(names), **{name: array[index] for name, array in self._stored().items()})

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what a checkpoint stores; the names go into its metadata."""
        return {f"statistics.{name}": array for name, array in self._stored().items()}

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Mapping[str, Tensor | NDArray[np.float64]]) -> Statistics:
        """Return the statistics that a checkpoint stored."""
        found = {
            item.name: np.asarray(arrays[name], dtype=np.float64)
            for item in dataclass_fields(cls)
            if item.name != "names" and ((name := f"statistics.{item.name}") in arrays or item.default is not None)
        }
        return cls(tuple(names), **found)

    def _stored(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays that are known, by name."""
        found = {item.name: getattr(self, item.name) for item in dataclass_fields(self) if item.name != "names"}
        return {name: array for name, array in found.items() if array is not None}


def partners_of(task: Task) -> dict[str, str]:
    """Return the partner of each vector component in the task."""
    return {variable.name: variable.partner for variable in task.variables if variable.partner is not None}


def read_in_chunks(
    fields: Fields,
    names: Sequence[str],
    times: slice | NDArray[np.int64],
    ensemble: slice | Sequence[int] = slice(None),
    chunk: int = 24,
    overlap: int = 1,
    stride: int = 1,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], int]]:
    """Yield unbroken runs of the times that can be read, `chunk` at a go, each with up to `overlap` times before it.

    Fewer where they would take more than `CHUNK_BYTES`. With a `stride` neighbours are so many frames apart: all times
    come, every `stride`-th one in the same run. Yields indices [time], values [time, ensemble, node, variable] and how
    many of the first times came before.
    """
    rows = len(range(fields.ensemble_size)[ensemble]) if isinstance(ensemble, slice) else len(ensemble)
    chunk = max(1, min(chunk, int(CHUNK_BYTES // (8 * rows * fields.mesh.num_nodes * len(names)))))
    index = np.unique(np.arange(len(fields.times))[times])
    index = index[~np.isin(index, list(fields.missing))]
    for phase in np.unique(index % stride):
        frames = index[index % stride == phase]
        for run in np.split(frames, np.flatnonzero(np.diff(frames) > stride) + 1):
            for start in range(0, len(run), chunk):
                before = min(start, overlap)
                piece = run[start - before : start + chunk]
                yield piece, fields.read(piece, names, ensemble).astype(np.float64), before


@dataclass(frozen=True, eq=False)
class Moments:
    """Running mean and centred sum of squares per variable, merged as Chan, Golub and LeVeque (1983) show.

    doi:10.1080/00031305.1983.10483115, eq. 2.1. NaN is not counted.
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @classmethod
    def zero(cls, size: int) -> Moments:
        return cls(np.zeros(size), np.zeros(size), np.zeros(size), np.full(size, np.inf), np.full(size, -np.inf))

    def with_values(self, values: NDArray[np.float64]) -> Moments:
        """Return the moments with values [..., variable] joined to those already counted."""
        flat = values.reshape(-1, values.shape[-1])
        there = ~np.isnan(flat)
        count = there.sum(axis=0).astype(np.float64)
        mean = np.where(there, flat, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(there, flat - mean, 0.0) ** 2).sum(axis=0)
        total = np.maximum(self.count + count, 1)
        shift = mean - self.mean
        return Moments(
            self.count + count,
            self.mean + shift * count / total,
            self.squares + squares + shift**2 * self.count * count / total,
            np.minimum(self.minimum, np.where(there, flat, np.inf).min(axis=0, initial=np.inf)),
            np.maximum(self.maximum, np.where(there, flat, -np.inf).max(axis=0, initial=-np.inf)),
        )

    @property
    def variance(self) -> NDArray[np.float64]:
        return self.squares / np.maximum(self.count, 1)

    @property
    def root_mean_square(self) -> NDArray[np.float64]:
        return np.sqrt(self.variance + self.mean**2)


def _std_over_nodes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standard deviations [time, ensemble, variable]; NaN where no node has a value."""
    with warnings.catch_warnings():  # of such nodes
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanstd(values, axis=2)


def _common_std(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root of the covariance [variable] over the nodes of two fields [node, variable], zero at least."""
    both = np.isfinite(first) & np.isfinite(second)
    deviations = [np.where(both, x - x.mean(axis=0, where=both), 0.0) for x in (first, second)]
    covariance = (deviations[0] * deviations[1]).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    return np.sqrt(np.maximum(covariance, 0.0))
