"""Internal variability: what the climate of a response leaves to chance, correlated in space and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.special import gammainc, gammaincinv, ndtr, ndtri
from torch import Tensor

from emulator.features.periodic_mean import NUM_BINS, bin_of
from emulator.task import Variable
from graphs.errors import MeshcastError

Array = NDArray[np.float64]
LONGEST_ORDER = 12
FEWEST_STEPS = 20  # of training that a memory of a few steps can be seen in
SPIN_UP = 300  # steps drawn and dropped, so that a series begins as it goes on
BLOCKS = 10  # of a series, whose means tell what is slow
CLOSEST = 1e-6  # to certainty that a probability comes
DRY = 1e-6  # of a variable's mean: a gamma distribution has no smaller one


@dataclass(frozen=True, kw_only=True)
class VariabilityConfig:
    """How members of a scenario differ, as runs of one climate model under one forcing do.

    What a free rollout over the training part leaves of it is made normal, node by node, and drawn as empirical
    orthogonal functions, each an autoregressive process with a slow part, and a remainder of each node's own. What is
    slow in the weather of n runs is also in the response that was learned from them, so that another run strays from
    it by 1 + 1 / n of the variance that means over a tenth of the series have. A variable whose lower bound is zero,
    such as precipitation, has a gamma distribution about its expected value; others a normal one.

    modes: most orthogonal functions.
    order: most steps that a mode remembers; how many is chosen by Bayes' information criterion (Schwarz 1978).
    by: what its size and shape depend on besides the node: nothing, or the calendar month.
    """

    modes: int = 150
    order: int = 4
    by: Literal["none", "month"] = "none"

    def __post_init__(self) -> None:
        if self.modes < 1 or not 0 <= self.order <= LONGEST_ORDER:
            raise MeshcastError(
                f"variability takes modes from 1 and an order from 0 to {LONGEST_ORDER}, but got {self.modes} and "
                f"{self.order}."
            )


@dataclass(frozen=True, eq=False)
class Variability:
    """A climate's own variability about what is expected of it, at the nodes and steps of an emulator.

    size: [bin, node, predicted] standard deviation of a normal variable, shape of a gamma one; NaN where masked.
    patterns: [mode, node, predicted] of unit variables, times their amplitude.
    memory: [mode, order] coefficients of each mode's autoregression, of unit variance.
    slow: [mode] standard deviation of its slow part. span: steps that this remembers.
    remainder: [node, predicted] standard deviation of what the modes leave.
    lasting: [node, predicted] its correlation from one step to the next.
    positive: [predicted] which variables are never below zero.
    """

    config: VariabilityConfig
    size: Array
    patterns: Array
    memory: Array
    slow: Array
    span: int
    remainder: Array
    lasting: Array
    positive: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        config: VariabilityConfig,
        variables: Sequence[Variable],
        times: NDArray[np.int64],
        truth: Array,
        expected: Array,
        areas: Array,
    ) -> Variability:
        """Return it fitted on series and what is expected of them.

        times: [time] a step of the emulator apart. truth: [row, time, node, predicted], NaN at masked nodes and at
        times that are missing. expected: the same, without gaps. areas: [node].

        Raises MeshcastError of fewer than 20 steps.
        """
        known = np.asarray(~np.isnan(truth).all(axis=(2, 3)))  # [row, time]
        if known.sum() < FEWEST_STEPS:
            raise MeshcastError(
                f"A variability needs {FEWEST_STEPS} steps of training, but there are {int(known.sum())}. Train on "
                "longer series, or leave `variability` away."
            )
        bins = bin_of(times, config.by)
        positive = np.array([variable.bounds is not None and variable.bounds[0] == 0 for variable in variables])
        size = np.full((NUM_BINS[config.by], *truth.shape[2:]), np.nan)
        for number in np.unique(bins):
            here = known & (bins == number)[None]
            size[number] = _sizes(truth[here], expected[here], positive)
        unit = np.where(known[..., None, None], _unit(truth, expected, size[bins], positive), np.nan)
        weight = np.sqrt(np.where(np.isnan(size).all(axis=0), 0.0, areas[:, None]))
        patterns, amplitudes = _patterns(np.nan_to_num(unit[known]), weight, config.modes)
        series = np.full((*known.shape, len(patterns)), np.nan)
        series[known] = amplitudes
        memory = np.zeros((len(patterns), max(config.order, 1)))
        for mode in range(len(patterns)):
            memory[mode] = _autoregression(series[..., mode], config.order, memory.shape[1])
        span = max(2, len(times) // BLOCKS)
        slow = _slow(series, memory, span)
        left = np.nan_to_num(unit[known]) - np.tensordot(amplitudes, patterns, 1)
        whole = np.full(unit.shape, np.nan)
        whole[known] = left
        remainder = np.sqrt(np.mean(left**2, axis=0))
        return cls(config, size, patterns, memory, slow, span, remainder, _lasting(whole), positive)

    def draw(self, steps: int, members: int, generator: np.random.Generator) -> Array:
        """Return unit variables [member, time, node, predicted] of so many steps, each member a series of its own."""
        from scipy.signal import lfilter  # which takes a second to load

        count = steps + SPIN_UP
        series = np.empty((members, steps, len(self.patterns)))
        for mode, memory in enumerate(self.memory):
            shocks = generator.standard_normal((members, count)) * self._shocks[mode]
            series[..., mode] = lfilter([1.0], np.concatenate([[1.0], -memory]), shocks, axis=1)[:, SPIN_UP:]
        kept = np.exp(-1 / self.span)
        shocks = generator.standard_normal((members, steps, len(self.slow)))
        shocks[:, 1:] *= np.sqrt(1 - kept**2)
        series += self.slow * lfilter([1.0], [1.0, -kept], shocks, axis=1)
        drawn = np.tensordot(series, self.patterns, 1)
        own = generator.standard_normal(drawn[:, 0].shape)
        for step in range(steps):
            if step:
                fresh = generator.standard_normal(own.shape)
                own = self.lasting * own + np.sqrt(1 - self.lasting**2) * fresh
            drawn[:, step] += self.remainder * own
        return np.asarray(drawn / self._excess)

    @cached_property
    def _shocks(self) -> list[float]:
        """Return the standard deviation of each mode's shocks: every member asks for them."""
        return [_shock(memory) for memory in self.memory]

    @cached_property
    def _excess(self) -> Array:
        """Return by how much the slow part widens [node, predicted] a gamma variable, whose chance it only shares."""
        more = np.tensordot(self.slow**2, self.patterns**2, 1)  # variance beyond one, which a normal variable takes on
        return np.where(self.positive, np.sqrt(1 + more), 1.0)

    def applied(self, times: NDArray[np.int64], expected: Array, unit: Array) -> Array:
        """Return members [..., time, node, predicted] of unit variables about what is expected at times [time].

        Raises MeshcastError in a month that the training part does not hold.
        """
        size = self.size[bin_of(times, self.config.by)]
        if np.isnan(size).all(axis=(1, 2)).any():
            raise MeshcastError(f"The variability was fitted on no {self.config.by} such as it is to draw.")
        members = expected + size * unit
        for column in np.flatnonzero(self.positive):
            mean, shape = expected[..., column], size[..., column]
            chance = ndtr(unit[..., column]).clip(CLOSEST, 1 - CLOSEST)
            members[..., column] = np.maximum(mean, 0.0) * gammaincinv(shape, chance) / shape
        return np.asarray(members)

    def arrays(self) -> dict[str, Array]:
        """Return what a checkpoint keeps, single precision being enough for chances."""
        single = ("size", "patterns", "slow", "remainder", "lasting")
        kept = {name: getattr(self, name).astype(np.float32) for name in single}
        return {**kept, "memory": self.memory, "span": np.array(self.span), "positive": self.positive}

    @classmethod
    def from_arrays(
        cls, config: VariabilityConfig, arrays: Mapping[str, Tensor], shape: tuple[int, int]
    ) -> Variability:
        """Return that of a checkpoint, for shape [node, predicted]; raise MeshcastError where it is another's."""
        found = {
            name: array.numpy().astype(bool if array.dtype == torch.bool else np.float64)
            for name, array in arrays.items()
        }
        modes = len(found["patterns"])
        expected: dict[str, tuple[int, ...]] = {
            "size": (NUM_BINS[config.by], *shape),
            "patterns": (modes, *shape),
            "memory": (modes, max(config.order, 1)),
            "slow": (modes,),
            "span": (),
            "remainder": shape,
            "lasting": shape,
            "positive": shape[1:],
        }
        for name, wanted in expected.items():
            if name not in found:
                raise MeshcastError(f"variability.{name} is missing. An earlier version made it: train it again.")
            if found[name].shape != wanted:
                raise MeshcastError(f"variability.{name} has the shape {found[name].shape}, not {wanted}.")
        fields = {name: found[name] for name in expected if name != "span"}
        return cls(config, span=int(found["span"]), **fields)


def _sizes(truth: Array, expected: Array, positive: NDArray[np.bool_]) -> Array:
    """Return [node, predicted] what `Variability.size` holds, of samples [sample, node, predicted]."""
    square = np.mean((truth - expected) ** 2, axis=0)
    mean_square = np.mean(expected**2, axis=0)
    floor = DRY * np.nanmean(mean_square, axis=0)
    shape = np.maximum(mean_square, floor) / np.maximum(square, 1e-30)
    return np.where(positive, shape.clip(0.05, 1e4), np.sqrt(square))


def _unit(truth: Array, expected: Array, size: Array, positive: NDArray[np.bool_]) -> Array:
    """Return truth as unit normal variables."""
    unit = (truth - expected) / np.where(size > 0, size, 1.0)
    for column in np.flatnonzero(positive):
        mean = np.maximum(expected[..., column], 1e-30)
        shape = size[..., column]
        chance = gammainc(shape, np.maximum(truth[..., column], 0.0) / mean * shape)
        unit[..., column] = ndtri(chance.clip(CLOSEST, 1 - CLOSEST))
    return np.asarray(unit)


def _patterns(unit: Array, weight: Array, modes: int) -> tuple[Array, Array]:
    """Return patterns [mode, node, predicted] and amplitudes [sample, mode] of unit variance."""
    weighted = (unit * weight).reshape(len(unit), -1)
    _, strength, rows = np.linalg.svd(weighted, full_matrices=False)
    kept = min(modes, int((strength > 1e-8 * max(strength[0], 1e-300)).sum()))
    amplitudes = weighted @ rows[:kept].T
    std = np.sqrt(np.mean(amplitudes**2, axis=0))
    amplitudes = amplitudes / std
    patterns = np.tensordot(amplitudes, unit, (0, 0)) / len(unit)  # of all nodes, weighted or not
    return patterns, amplitudes


def _autoregression(series: Array, most: int, length: int) -> Array:
    """Return coefficients [length], zero beyond the chosen order, of a series [row, time] of unit variance."""
    known = ~np.isnan(series)
    filled = np.where(known, series, 0.0)
    count = int(known.sum())
    shares = [
        float((filled[:, lag:] * filled[:, : series.shape[1] - lag]).sum()) / count for lag in range(most + 1)
    ]  # divided by all, so that the process is stable
    best = (count * np.log(shares[0]), np.zeros(length))
    for order in range(1, most + 1):
        coefficients = solve_toeplitz(shares[:order], shares[1 : order + 1])
        left = shares[0] - float(coefficients @ shares[1 : order + 1])
        if left <= 0:
            break
        criterion = count * np.log(left) + order * np.log(count)
        if criterion < best[0]:
            best = (criterion, np.append(coefficients, np.zeros(length - order)))
    return np.asarray(best[1])


def _response(memory: Array) -> Array:
    """Return what an autoregression makes of one shock, step by step."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], np.concatenate([[1.0], -memory]), np.append(1.0, np.zeros(5000))))


def _shock(memory: Array) -> float:
    """Return the standard deviation of the shocks by which an autoregression has unit variance."""
    return float(1.0 / np.sqrt(np.sum(_response(memory) ** 2)))


def _slow(series: Array, memory: Array, span: int) -> Array:
    """Return the slow part [mode] of series [row, time, mode], NaN at missing times, whose autoregressions are known.

    It makes up what means over blocks of a span lack of 1 + 1 / row of the variance that they have.
    """
    rows, count = series.shape[0], series.shape[1] // span
    blocks = series[:, : count * span].reshape(rows, count, span, -1)
    there = (~np.isnan(blocks)).sum(axis=2)
    enough = (2 * there >= span).all(axis=2)  # [row, block]
    means = (np.nan_to_num(blocks).sum(axis=2) / np.maximum(there, 1))[enough]
    if not means.size:
        return np.zeros(series.shape[2])

    def share(of: Array) -> float:
        response = _response(of)
        return float(np.sum(np.convolve(response, np.full(span, 1 / span)) ** 2) / np.sum(response**2))

    quick = np.array([share(one) for one in memory])
    kept = share(np.exp([-1 / span]))
    lacking = (1 + 1 / rows) * np.mean(means**2, axis=0) - quick
    return np.asarray(np.sqrt(np.maximum(lacking, 0.0) / kept))


def _lasting(series: Array) -> Array:
    """Return the correlation from step to step [node, predicted] of series [row, time, node, predicted]."""
    products = np.nan_to_num(series[:, 1:] * series[:, :-1]).sum(axis=(0, 1))
    squares = np.nan_to_num(series**2).sum(axis=(0, 1))
    return np.asarray((products / np.maximum(squares, 1e-30)).clip(-0.95, 0.95))
