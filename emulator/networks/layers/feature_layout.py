"""Where a node's features stand, for networks that tell times, places and winds apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from emulator.baselines.first_guess import SolverStep
from emulator.features.inputs import Inputs
from emulator.networks.layers.constants import constant
from emulator.task import Task, wind_pairs
from graphs.geometry import tangent_frames
from graphs.mesh import Mesh


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


class CartesianWinds(nn.Module):
    """Eastward and northward components (u, v) taken to w = u e + v n in space on the way in, and back on the way out.

    e, n are a node's unit vectors east and north: a wind over the pole is one wind for all nodes there. On the way back
    the vertical part is dropped: u = w · e, v = w · n. On a ring, and without winds, nothing changes.

    layout: of what comes in and goes out.
    inside: of what a network between the two sees and gives: x for u, y for v, and z behind the fields of its time, or
        behind all columns where it belongs to no time.
    """

    def __init__(self, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        on_sphere = mesh.domain.kind != "ring"
        self.winds = layout.winds if on_sphere else ()
        self.output_winds = layout.output_winds if on_sphere else ()
        self.inside = replace(
            layout,
            num_prognostic=layout.num_prognostic + sum(max(wind) < layout.num_prognostic for wind in self.winds),
            num_inputs=layout.num_inputs + len(self.winds),
            num_outputs=layout.num_outputs + len(self.output_winds),
            winds=(),
            output_winds=(),
        )
        axes = np.stack(tangent_frames(mesh.positions)) if self.winds else np.zeros((2, 0, 3))
        self.axes = constant(axes)  # [east or north, node, xyz]
        self.order = constant(np.array(self._order(layout)))

    def enter(self, features: Tensor) -> Tensor:
        """Return [batch, node, input] as `inside` orders it."""
        if not self.winds:
            return features
        east, north = self.axes.to(features.dtype)
        columns = list(features.unbind(-1))
        for u, v in self.winds:
            x, y, z = (features[..., [u]] * east + features[..., [v]] * north).unbind(-1)
            columns[u], columns[v] = x, y
            columns.append(z)
        return torch.stack(columns, dim=-1).index_select(-1, self.order)

    def leave(self, output: Tensor) -> Tensor:
        """Return [batch, node, output] with components east and north, from the output of a network inside."""
        if not self.output_winds:
            return output
        columns = list(output.unbind(-1))
        for u, v in reversed(self.output_winds):
            wind = torch.stack([columns[u], columns[v], columns.pop()], dim=-1)
            columns[u], columns[v] = (torch.sum(wind * axis.to(output.dtype), dim=-1) for axis in self.axes)
        return torch.stack(columns, dim=-1)

    def _order(self, layout: FeatureLayout) -> list[int]:
        order: list[int] = []
        block = layout.num_prognostic
        third = {u: layout.num_inputs + k for k, (u, _) in enumerate(self.winds)}
        for first in range(0, layout.num_fields, block):
            order += range(first, first + block)
            order += [place for u, place in third.items() if first <= u < first + block]
        order += range(layout.num_fields, layout.num_inputs)
        return order + [place for u, place in third.items() if u >= layout.num_fields]
