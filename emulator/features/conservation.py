"""Exact conservation: the area mean of a variable declared conserved never changes, whatever a network says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.foundation.shard_group import ShardGroup
from emulator.task import Task, Variable, names_of
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


class Conservation:
    """Gives a predicted state the area means of the state before it, in every conserved variable.

    With the predicted change Δ and the area mean ⟨·⟩ over the nodes that have values,

        x(t + 1) = x + Δ - ⟨Δ⟩ r / ⟨r⟩

    where r, the room a node has, is 1 without bounds. A bounded variable is first clipped; r is then its distance from
    the lower bound where there is too much, else from the upper one, if any: a tracer that never goes negative is
    scaled, and its zeros stay zeros. Sums are of float64; what rounding to float32 leaves is repaired by the last digit
    of a few nodes, so that nothing adds up over a long forecast.

    names, columns: the conserved variables, and where they stand among the prognostic ones.
    areas: [node, 1] of the mesh.
    correction: [batch, member, conserved] ⟨Δ⟩ of the last step in physical units, which was taken off; None before.
    """

    def __init__(self, task: Task, mesh: Mesh) -> None:
        conserved = [(column, v) for column, v in enumerate(task.with_role("prognostic")) if v.conserved]
        self.columns = [column for column, _ in conserved]
        self.names = names_of([variable for _, variable in conserved])
        if conserved and mesh.boundary is not None:
            raise MeshcastError(
                f"{', '.join(self.names)} cannot be conserved in a limited area: what flows through its boundary "
                "changes the mean. Leave task.conserved empty."
            )
        self._lower, self._upper = bounds_of([variable for _, variable in conserved])
        self.areas = torch.from_numpy(mesh.areas)[:, None]
        self.correction: Tensor | None = None
        self._group: ShardGroup | None = None

    def hold(self, group: ShardGroup, nodes: NDArray[np.int64]) -> None:
        """Have states hold one shard's nodes alone; area means stay those of all nodes."""
        self.areas, self._group = self.areas[torch.from_numpy(nodes)], group

    def __call__(self, before: Tensor, after: Tensor) -> Tensor:
        """Return `after` [.., node, prognostic] with area means and type of `before`; NaN there is a masked node."""
        if not self.columns:
            return after.to(before.dtype)
        device = before.device
        lower, upper = self._lower.to(device), self._upper.to(device)
        old, new = before[..., self.columns].double(), after[..., self.columns].double().clamp(lower, upper)
        there = ~torch.isnan(old)
        old, new = torch.where(there, old, 0.0), torch.where(there, new, 0.0)
        weights = torch.where(there, self.areas.to(device), 0.0)
        weights = weights / self._sum(weights)
        excess = self._sum(weights * (new - old))
        self.correction = excess.detach().squeeze(-2)
        fixed = (new - excess * self._share(new, excess, weights, lower, upper)).clamp(lower, upper)
        kept = self._repaired(fixed.to(before.dtype), old, weights, lower, upper)
        result = after.to(before.dtype).clone()
        result[..., self.columns] = kept
        return result

    def _sum(self, values: Tensor) -> Tensor:
        """Return the sum over all nodes [..., 1, conserved] of values [..., node, conserved], a shard's or all."""
        total = values.sum(-2, keepdim=True)
        return total if self._group is None else self._group.total(total)

    def _share(self, new: Tensor, excess: Tensor, weights: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return each node's share [..., node, conserved] of a correction by one; its area mean is one."""
        below, above = (new - lower).clamp_min(0.0), (upper - new).clamp_min(0.0)
        room = torch.where((excess < 0) & torch.isfinite(upper), above, below)
        room = torch.where(torch.isfinite(room), room, 1.0)
        mean = self._sum(weights * room)
        return torch.where(mean > 0, room / torch.where(mean > 0, mean, 1.0), 1.0)

    def _repaired(self, rounded: Tensor, old: Tensor, weights: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return `rounded` with the area mean of `old`: the first nodes off bounds and zero move by a last digit."""
        if rounded.dtype == torch.float64:
            return rounded
        with torch.no_grad():
            left = self._sum(weights * (rounded.double() - old))
            towards = torch.full_like(left, torch.inf).copysign(-left).to(rounded.dtype).expand_as(rounded)
            moved = torch.nextafter(rounded, towards)
            free = (rounded > lower.to(rounded.dtype)) & (rounded < upper.to(rounded.dtype)) & (rounded != 0)
            step = torch.where(free, weights * (moved.double() - rounded.double()).abs(), 0.0)
            taken = step.cumsum(-2)
            if self._group is not None:
                taken = taken + self._group.before(step.sum(-2, keepdim=True))
            chosen = free & (taken - step / 2 <= left.abs())
            change = torch.where(chosen, moved - rounded, 0.0)  # exact, by Sterbenz's lemma
        return rounded + change


def bounds_of(variables: Sequence[Variable]) -> tuple[Tensor, Tensor]:
    """Return the lower and upper bounds [variable], float64, infinite where open."""
    pairs = [variable.bounds or (None, None) for variable in variables]
    lower = [-np.inf if lowest is None else lowest for lowest, _ in pairs]
    upper = [np.inf if highest is None else highest for _, highest in pairs]
    return torch.tensor(lower, dtype=torch.float64), torch.tensor(upper, dtype=torch.float64)
