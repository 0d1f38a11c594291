"""Training windows: pieces of a series with history and targets, each with its own reproducible noise."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from emulator.boundary import with_boundary
from emulator.data.arrays import in_memory
from emulator.features.inputs import Inputs
from emulator.fields import Fields, NodeFields
from emulator.forcings import Forcings
from emulator.neural import NeuralEmulator
from emulator.state import State
from emulator.task import Task, names_of
from graphs.errors import MeshcastError
from training.experiment import NoiseKind
from training.preparation.symmetries import Symmetry
from training.preparation.turning import Turning, share_of_circle

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]
MANY_NODES = 200_000  # of which fewer windows are measured at a time
MOST_WINDOWS = 2_000  # enough to measure a standard deviation
# Root mean square over samples of what `noise` multiplies: of 10⁻ᵘ, u even in [0, 1], it is √(0.99 / (2 ln 10)).
NOISE_SIZE: dict[NoiseKind, float] = {"white": 1.0, "random_amplitude": float(np.sqrt(0.99 / (2 * np.log(10))))}


@dataclass(frozen=True, eq=False)
class WindowForcings:
    """The forcings a window brought along, as `rollout` takes them in place of a provider."""

    values: Tensor  # [batch, time, node, forcing]

    def window(self, state: State, task: Task, done: int) -> Tensor:
        return self.values[:, done : done + task.history + 1]

    def rows(self, index: slice | NDArray[np.int64]) -> WindowForcings:
        return WindowForcings(self.values[index])


class Windows(Dataset[Batch]):
    """All windows of `history + steps` times in a series, a time step apart; those with a missing date are skipped.

    Where the series is finer than the task's time step a window takes every so-manieth frame, and starts at any.

    An item is asked for by (epoch, index), so that its noise is a function of (seed, epoch, sample) alone: not of
    rank, worker or resume. With a symmetry every other sample of an epoch is an image of itself, and in the next epoch
    the others are; with two, four epochs show each as it is, in either image and in both. It holds

    values: [time, node, predicted], physical units, float32.
    forcing: [time, node, forcing], physical units.
    noise: [history, node, prognostic] normal, of std one or of the sample's own amplitude; absent without noise. With
        several members [member, history, node, prognostic], of one amplitude.
    valid_time: int64 seconds of the last time of the history.
    trajectory: number of the trajectory that the window is of.
    """

    def __init__(
        self,
        fields: Fields,
        task: Task,
        steps: int,
        forcings: Forcings,
        seed: int = 0,
        noise: NoiseKind | None = None,
        most: int | None = None,
        symmetries: Sequence[Symmetry] = (),
        turning: Turning | None = None,
        members: int = 1,
    ) -> None:
        self.fields, self.task, self.steps, self.forcings, self.members = fields, task, steps, forcings, members
        self.seed, self.noise, self.symmetries, self.turning = seed, noise, tuple(symmetries), turning
        self.names, self.num_nodes = names_of(task.predicted), fields.mesh.num_nodes
        self.nodes: NDArray[np.int64] | None = None  # those that are read, in place of all
        length = min(task.history + steps, len(fields.times) + 1)  # one more than there are leaves no start
        self.window = task.time_step.frames(fields.time_step) * np.arange(length)  # frames from its first
        starts = np.arange(0, len(fields.times) - self.window[-1])
        if fields.missing:
            touched = np.isin(starts[:, None] + self.window, sorted(fields.missing)).any(axis=1)
            log.info("%d of %d windows touch a missing date and are skipped.", touched.sum(), len(starts))
            starts = starts[~touched]
        if len(starts) == 0:
            raise MeshcastError(
                f"{fields.source} has {len(fields.times)} times and no window of {task.history} times of history and "
                f"{steps} steps. Shorten training.unroll, its curriculum or validation.steps, or give longer series."
            )
        pairs = np.stack(np.meshgrid(np.arange(fields.ensemble_size), starts, indexing="ij"), axis=-1).reshape(-1, 2)
        if most is not None and len(pairs) > most:
            pairs = pairs[np.linspace(0, len(pairs) - 1, most).round().astype(int)]
        self.pairs: NDArray[np.int64] = pairs  # [window, (ensemble, start)]

    def of_nodes(self, nodes: NDArray[np.int64]) -> Windows:
        """Return the same windows of some nodes alone, in this order, with the noise that these have in the whole.

        No other nodes are kept; those of the nodes are where they take little memory.
        """
        assert not self.symmetries and self.turning is None, "images of a sample need other nodes"
        some = copy(self)
        some.fields = in_memory(NodeFields(self.fields, nodes))
        some.forcings, some.nodes = self.forcings.of_nodes(nodes, self.num_nodes), nodes
        return some

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int | tuple[int, int]) -> Batch:
        epoch, sample = index if isinstance(index, tuple) else (0, index)
        ensemble, start = (int(number) for number in self.pairs[sample])
        task, times = self.task, start + self.window
        values = self.read(times, ensemble, epoch, sample)
        valid_time, num_nodes = self.fields.times[times], values.shape[1]
        item = {
            "values": values,
            "valid_time": torch.tensor(valid_time[task.history - 1]),
            "trajectory": torch.tensor(self.fields.trajectories[ensemble]),
            "forcing": torch.zeros(len(valid_time), num_nodes, 0),
        }
        if task.forcing:
            lead = np.arange(len(valid_time)) - (task.history - 1)
            trajectory = np.full(len(valid_time), self.fields.trajectories[ensemble])
            forcing = self.forcings.at(valid_time, task.forcing, num_nodes, lead, trajectory)
            item["forcing"] = torch.from_numpy(forcing.astype(np.float32))
        if self.noise is not None:
            # Philox: counter-based, so any (epoch, sample) is one jump away.
            key = np.array([self.seed & 0xFFFFFFFFFFFFFFFF, (epoch << 32) + sample], dtype=np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            shape = (*([self.members] * (self.members > 1)), task.history, self.num_nodes, len(task.prognostic))
            noise = generator.standard_normal(shape, dtype=np.float32)  # of all nodes, whichever are read
            item["noise"] = torch.from_numpy(noise if self.nodes is None else noise[..., self.nodes, :])
            if self.noise == "random_amplitude":
                item["noise"] *= 10.0 ** -generator.uniform()
        return item

    def symmetries_at(self, epoch: int, sample: int) -> list[Symmetry]:
        """Return those that take a sample to its image in an epoch."""
        return [symmetry for bit, symmetry in enumerate(self.symmetries) if (epoch + sample) >> bit & 1]

    def read(self, frames: NDArray[np.int64], ensemble: int, epoch: int, sample: int) -> Tensor:
        """Return the predicted variables at some frames, [time, node, predicted], as a sample is seen in an epoch."""
        if self.turning is None:
            values = self.fields.read(frames, self.names, ensemble)[:, 0]
        else:
            turn = share_of_circle(self.seed, epoch, sample)
            values = self.turning.read(frames, self.names, ensemble, turn)
        for symmetry in self.symmetries_at(epoch, sample):
            values = symmetry.of(values)
        return torch.from_numpy(np.ascontiguousarray(values))

    def start_of(self, batch: Batch) -> tuple[State, WindowForcings]:
        """Return the initial state of a batch of windows, without an ensemble, and the forcings along them.

        The boundary of a limited area is the truth's.
        """
        history, count = self.task.history, len(self.task.prognostic)
        values = batch["values"][:, None, :history, :, :count]  # [batch, member, time, node, prognostic]
        forcing = with_boundary(batch["forcing"], batch["values"], self.task, self.fields.mesh)
        state = State(values, batch["valid_time"].cpu().numpy(), batch["trajectory"].cpu().numpy())
        return state, WindowForcings(forcing)


class WindowsWithin(Windows):
    """Windows of one step that hold the times within it too.

    within: [time, node, predicted] of an item, physical units, in its last step; the boundary of a limited area is
        taken from it.
    fractions: [time] of the step, in (0, 1).
    Raises MeshcastError where the data have no time within a step.
    """

    def __init__(
        self,
        fields: Fields,
        task: Task,
        forcings: Forcings,
        most: int | None = None,
        symmetries: Sequence[Symmetry] = (),
        turning: Turning | None = None,
        seed: int = 0,
    ) -> None:
        frames = task.time_step.frames(fields.time_step)
        if frames < 2:
            raise MeshcastError(
                f"States between steps are learnt from times within a step, but {fields.source} comes every "
                f"{fields.time_step}, as the emulator steps. Set a longer task.time_step, or leave `between` away."
            )
        super().__init__(fields, task, 1, forcings, seed, symmetries=symmetries, turning=turning)
        self.fractions = np.arange(1, frames) / frames
        inside = [self._within([]), self._within(self.symmetries)]
        touched = np.isin(self.pairs[:, 1:] + np.concatenate(inside), sorted(fields.missing)).any(axis=1)
        self.pairs = self.pairs[~touched]
        if len(self.pairs) == 0:
            raise MeshcastError(f"{fields.source} has no step without a missing date within it. Leave `between` away.")
        if most is not None and len(self.pairs) > most:
            self.pairs = self.pairs[np.linspace(0, len(self.pairs) - 1, most).round().astype(int)]

    def __getitem__(self, index: int | tuple[int, int]) -> Batch:
        item, (epoch, sample) = super().__getitem__(index), index if isinstance(index, tuple) else (0, index)
        ensemble, start = (int(number) for number in self.pairs[sample])
        frames = start + self._within(self.symmetries_at(epoch, sample))
        return item | {"within": self.read(frames, ensemble, epoch, sample)}

    def _within(self, symmetries: Sequence[Symmetry]) -> NDArray[np.int64]:
        """Return the frames within the last step, from the first of the window; backwards it is the first step."""
        last = self.window[0 if any(symmetry.backwards for symmetry in symmetries) else -2]
        return last + np.arange(1, len(self.fractions) + 1)


def noisy(state: State, batch: Batch, size: float, inputs: Inputs) -> State:
    """Return a batch's initial state with the noise of its windows, `size` times each variable's standard deviation.

    Where the windows have noise for several members it has as many.
    """
    if "noise" not in batch:
        return state
    noise = size * batch["noise"]  # [batch, (member,) time, node, prognostic]
    return replace(state, values=inputs.noisy(state.values, noise if noise.ndim == 5 else noise[:, None]))


@torch.no_grad()
def normalised_pairs(emulator: NeuralEmulator, windows: Windows) -> Iterator[tuple[Tensor, State, Tensor]]:
    """Yield features [batch, node, feature], their state, and normalised targets [batch, node, predicted], NaN if
    masked, of windows spread over the training part."""
    task, inputs = emulator.task, emulator.inputs
    chosen = np.linspace(0, len(windows) - 1, min(len(windows), MOST_WINDOWS)).round().astype(int)
    subset = Subset(windows, chosen.tolist())
    # With a generator of its own: what is drawn from the seed later must not depend on whether this was measured.
    batch_size = 32 if windows.num_nodes < MANY_NODES else 8
    loader: DataLoader[Batch] = DataLoader(subset, batch_size=batch_size, generator=torch.Generator())
    for batch in loader:
        state, forcings = windows.start_of(batch)
        target = inputs.targets(state, batch["values"][:, task.history])
        yield inputs.features(state, forcings.window(state, task, 0)), state, target


class ShuffledStream(Sampler[tuple[int, int]]):
    """An endless shuffled stream of (epoch, sample), cut to one rank's share and to the updates that remain.

    Position p of the stream is a function of (seed, p) alone, so a resumed run continues where it stopped. An update
    takes the next `ranks` x `accumulate` x `batch_size` positions, so that it has the same samples however these three
    share them. Its length counts what was taken before `start` too, as Lightning counts the batches of a resumed epoch.

    accumulate: batches of a rank that make one update.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        updates: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.num_samples, self.batch_size, self.updates = num_samples, batch_size, updates
        self.seed, self.start, self.rank, self.ranks, self.accumulate = seed, start, rank, ranks, accumulate

    def __len__(self) -> int:
        return self.updates * self.accumulate * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order, drawn = np.empty(0, dtype=np.int64), -1
        for batch in range(self.start * self.accumulate, self.updates * self.accumulate):
            first = (batch * self.ranks + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                epoch, place = divmod(position, self.num_samples)
                if epoch != drawn:
                    order, drawn = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples), epoch
                yield epoch, int(order[place])
