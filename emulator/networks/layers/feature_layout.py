"""Where a node's features stand, for networks that tell times, places and winds apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emulator.baselines.first_guess import SolverStep
from emulator.features.inputs import Inputs
from emulator.task import Task, wind_pairs


@dataclass(frozen=True)
class FeatureLayout:
    """The columns of [batch, node, feature] as `Inputs.features` orders them, and of the network's output.

    times: states of the history that are shown, the last is now.
    num_prognostic, num_forcing: columns of each time; forcings are there at the target's time too.
    num_inputs: all columns; what follows fields and forcings (statics, boundary) belongs to no time.
    num_outputs: predicted variables.
    winds: (eastward, northward) columns of the features that are one vector; output_winds: those of the output.
    seen_winds: those of what a solver, as the first guess, shows of its step.
    conserved: outputs whose area mean stays.
    """

    times: int
    num_prognostic: int
    num_forcing: int
    num_inputs: int
    num_outputs: int
    winds: tuple[tuple[int, int], ...] = ()
    output_winds: tuple[tuple[int, int], ...] = ()
    seen_winds: tuple[tuple[int, int], ...] = ()
    conserved: tuple[int, ...] = ()

    @classmethod
    def of(cls, task: Task, inputs: Inputs, guess: nn.Module | None = None) -> FeatureLayout:
        """Return the layout of a task's inputs, with the columns that a first guess adds at the end."""
        count, first_seen = len(task.prognostic), inputs.num_fields + inputs.num_own
        firsts = list(range(0, inputs.num_fields, count))  # columns where the fields of a time begin
        if task.boundary:
            firsts.append(first_seen - inputs.num_boundary)  # where the boundary's change does
        pairs = wind_pairs(task)
        seen = guess if isinstance(guess, SolverStep) and guess.config.seen else None
        return cls(
            times=inputs.num_fields // count,
            num_prognostic=count,
            num_forcing=len(task.forcing),
            num_inputs=first_seen + (0 if seen is None else len(seen.seen_std)),
            num_outputs=len(task.predicted),
            winds=tuple((first + east, first + north) for first in firsts for east, north in pairs),
            output_winds=tuple(pairs),
            seen_winds=tuple((first_seen + u, first_seen + v) for u, v in (seen.winds if seen is not None else ())),
            conserved=tuple(inputs.conservation.columns),
        )

    @property
    def num_fields(self) -> int:
        """Return the number of columns that hold the fields of all times shown; they come first."""
        return self.times * self.num_prognostic

    @property
    def num_each(self) -> int:
        """Return the number of channels of one time in `sequence`."""
        return self.num_prognostic + 2 * self.num_forcing + self.num_rest

    @property
    def num_rest(self) -> int:
        """Return the number of columns that belong to no time."""
        return self.num_inputs - self.num_fields - (self.times + 1) * self.num_forcing

    @property
    def sequence_winds(self) -> tuple[tuple[int, int], ...]:
        """Return (eastward, northward) channels of `sequence`: the winds of a time, then those that belong to none."""
        gone = self.num_inputs - self.num_each  # columns before the rest, less channels before it
        still = [(east - gone, north - gone) for east, north in self.winds if east >= self.num_fields]
        return (*(pair for pair in self.winds if max(pair) < self.num_prognostic), *still)

    def sequence(self, features: Tensor) -> Tensor:
        """Return [batch, time, node, channel]: fields and forcings of each time, the target's forcings, the rest."""
        batch, node, _ = features.shape
        sizes = [self.num_fields, self.times * self.num_forcing, self.num_forcing, self.num_rest]
        fields, forcings, target, rest = features.split(sizes, dim=-1)
        by_time = [
            part.reshape(batch, node, self.times, -1).transpose(1, 2)
            for part, count in ((fields, self.num_prognostic), (forcings, self.num_forcing))
            if count
        ]
        still = [part.unsqueeze(1).expand(-1, self.times, -1, -1) for part in (target, rest)]
        return torch.cat([*by_time, *still], dim=-1)
