"""A long rollout without truth, so that the choice of a checkpoint knows how long its forecasts last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.data.boundary_sources import boundary_forcings
from emulator.forcings import ForcingWindows
from emulator.neural import NeuralEmulator
from emulator.state import State
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError, OutOfMemoryError
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Guard, Stop
from training.experiment import ExperimentConfig
from training.preparation.prepared import Prepared
from training.preparation.windows import Windows

MOST_STEPS, MOST_CASES = 1_000, 4
MOST_TIMES = 10  # the length of a training series; how what it shows goes on beyond, a decay say, nobody knows
FEWEST_CASES = 2  # one alone takes nearly as long
GRADIENT = 3  # evaluations of a network that a step of the loss with its gradient takes
NEIGHBOURS = 2  # of each node, whose differences are its shortest waves
MOST_ROUGH = 3.0  # times the roughest training field
SAMPLED_TIMES, SAMPLED_ROWS = 16, 8  # of the training part, for its roughest field


@dataclass(eq=False)
class LongRollout:
    """Forecasts from a few validation starts, as long as a share of the computing between two validations allows.

    state: where they start, [case, member, history, node, prognostic]. guard: what stops them.
    """

    state: State
    forcings: ForcingWindows
    guard: Guard
    steps: int

    def lived(self, emulator: NeuralEmulator) -> float:
        """Return the steps that a forecast lasts until the guard stops it, a mean over the cases; `steps` at most."""
        state = self.state.to(emulator.node_weights.device)
        if isinstance(emulator, NeuralEmulator):  # which may hold one shard's nodes alone
            state = replace(state, values=emulator.of_all_nodes(state.values))
        rolled, done = GuardedRollout(emulator, state, self.forcings, self.guard), 0
        lasted = np.zeros(len(state.valid_time))
        try:
            with torch.autocast(state.values.device.type, enabled=False):
                for done, _ in enumerate(rolled.steps(self.steps), start=1):
                    lasted[rolled.alive[:, 0]] = done
        except OutOfMemoryError:
            raise
        except MeshcastError:  # a month, say, that the climatology has not seen
            lasted[rolled.alive[:, 0]] = self.steps
        return float(lasted.mean())


def long_rollout(prepared: Prepared, starts: Windows, config: ExperimentConfig) -> LongRollout | None:
    """Return the long rollout of a run, None where its share of the computing, or its forcings, reach no further than
    validation does."""
    training, validation, task = config.training, config.validation, prepared.task
    unroll = sum(share * steps for share, steps in training.stages)
    evaluations = validation.every * training.samples_per_update * (GRADIENT * unroll + training.pushforward)
    allowed = int(validation.long_rollout * evaluations)  # steps of one case
    series = len(prepared.train.times) // task.time_step.frames(prepared.train.time_step)
    steps = min(MOST_STEPS, allowed // FEWEST_CASES, MOST_TIMES * series)
    if steps <= validation.steps:
        return None
    try:
        places = np.linspace(0, len(starts) - 1, _cases(allowed, steps, starts)).round().astype(int).tolist()
        if task.boundary:
            starts, places, steps = _earliest(prepared, starts, allowed, steps)
        items = [starts[place] for place in places]
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        state, _ = starts.start_of(batch)
        forcings: ForcingWindows = prepared.validation_forcings
        if task.boundary:
            rows, simulated = starts.pairs[places, 0], starts.fields.ensemble_axis == "trajectory"
            trajectory = rows if simulated else np.full_like(rows, -1)
            forcings, _ = boundary_forcings(
                forcings, starts.fields, task, prepared.train.mesh, state, trajectory, steps
            )
        steps = _forced(forcings if task.boundary else starts.forcings, task, state, steps)
    except MeshcastError:  # a boundary with missing dates, say: the choice is validation's alone
        return None
    if steps <= validation.steps:
        return None
    return LongRollout(state, forcings, RoughnessGuard.of(prepared.part, task, prepared.valid), steps)


def _cases(allowed: int, steps: int, starts: Windows) -> int:
    """Return for how many cases there is computing. Long comes before many: what fails at random fails as often in two
    rollouts as in four of half their length, and what grows slowly is seen in the long ones alone."""
    return min(MOST_CASES, len(starts), allowed // max(1, steps))


def _earliest(prepared: Prepared, starts: Windows, allowed: int, most: int) -> tuple[Windows, list[int], int]:
    """Return the windows that begin first, and the steps, `most` at most, until the data, with the boundary, end."""
    windows = Windows(starts.fields, prepared.task, starts.steps, prepared.validation_forcings)
    first = np.argsort(windows.pairs[:, 1], kind="stable")
    stride = int(windows.window[1] - windows.window[0])
    frames = len(windows.fields.times) - 1 - (windows.pairs[first, 1] + stride * (prepared.task.history - 1))
    steps = min(most, int(frames[0] // stride))
    cases = _cases(allowed, steps, starts)
    return windows, first[:cases].tolist(), min(steps, int(frames[cases - 1] // stride))


def _forced(forcings: ForcingWindows, task: Task, state: State, steps: int) -> int:
    """Return for how many of the steps there are forcings: a table or a dataset may end before."""

    def given(done: int) -> bool:
        try:
            later = task.time_step.advance(state.valid_time, np.full_like(state.valid_time, done))
            forcings.window(replace(state, valid_time=later), task, done)
        except MeshcastError:
            return False
        return True

    if given(steps - 1):
        return steps
    known, unknown = 0, steps  # steps that are forced, and one that is not
    while unknown - known > 1:
        middle = (known + unknown) // 2
        known, unknown = (middle, unknown) if given(middle - 1) else (known, middle)
    return known


@dataclass(frozen=True, eq=False)
class RoughnessGuard(Guard):
    """The guard of forecasts, and a bound on the shortest waves: neighbours may differ three times as much as in
    training, which a spectrum that fills up at its end exceeds long before values leave their range.

    neighbours: [node, neighbour]. roughest: [variable] root mean square difference in the roughest training field.
    """

    neighbours: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    roughest: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, part: TrainingPart, task: Task, valid: NDArray[np.bool_] | None) -> RoughnessGuard:
        """Return the guard with the bounds of a training part."""
        mesh, names = part.fields.mesh, names_of(task.predicted)
        count = min(NEIGHBOURS, mesh.num_nodes - 1)
        _, neighbours = cKDTree(mesh.positions).query(mesh.positions, k=1 + count)
        neighbours = np.asarray(neighbours).reshape(mesh.num_nodes, -1)[:, 1:]
        times, rows = part.available, part.rows
        times = times[np.unique(np.linspace(0, len(times) - 1, SAMPLED_TIMES).round().astype(int))]
        rows = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, SAMPLED_ROWS).round().astype(int))]
        roughest = np.zeros(len(names))
        for time in times:
            roughest = np.maximum(
                roughest, _roughness(part.fields.read(np.array([time]), names, rows), neighbours).max((0, 1))
            )
        return cls(part.statistics(task), mesh, valid, neighbours, roughest)

    def check(self, values: NDArray[np.float32], step: int, alive: NDArray[np.bool_]) -> list[Stop]:
        stops = super().check(values, step, alive)
        ratio = _roughness(values, self.neighbours) / np.where(self.roughest > 0, self.roughest, np.inf)
        rough = alive & (ratio > MOST_ROUGH).any(axis=2)
        for stop in stops:
            rough[stop.case, stop.member] = False
        for case, member in np.argwhere(rough):
            variable = int(ratio[case, member].argmax())
            reason = f"differs between neighbours {ratio[case, member, variable]:.2g} times as much as in training"
            stops.append(Stop(int(case), int(member), step, self.statistics.names[variable], reason, ""))
        return stops


def _roughness(values: NDArray[np.floating], neighbours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the root mean square difference [case, member, variable] between neighbours, where both have a value."""
    values = values.astype(np.float64)
    if not neighbours.shape[1]:  # a single node
        return np.zeros((*values.shape[:2], values.shape[3]))
    with np.errstate(invalid="ignore", over="ignore"):
        squares = [(values - values[:, :, neighbours[:, k]]) ** 2 for k in range(neighbours.shape[1])]
        known = [np.isfinite(square) for square in squares]
        total = sum(np.where(there, square, 0.0).sum(axis=2) for square, there in zip(squares, known, strict=True))
        return np.sqrt(total / np.maximum(sum(there.sum(axis=2) for there in known), 1))
