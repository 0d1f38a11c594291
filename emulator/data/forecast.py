"""The result of a rollout, with its times and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError, refuse_damaged
from graphs.mesh import Mesh


class NoForecastError(MeshcastError):
    """A file is sound and holds no forecast: fields, perhaps."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts of several cases from one emulator; init_time + lead_time = valid_time.

    name: the emulator's, a row's label in tables and legends.
    values: [case, member, lead, node, variable] float32 in physical units; NaN from the step a guard stopped a member.
    variables, units: of the last axis.
    init_time: [case] int64 seconds since 1970 UTC.
    trajectory: [case] index of the simulated trajectory the case starts from, -1 for real data.
    lead_steps: [lead] steps of `time_step` since init_time, from 1.
    initial: [case, member, node, variable] at the initial times, NaN of what is only predicted; None where unknown.
    attributes: licence, attribution, training source, checkpoint fingerprint, seed and what else the file carries.
    """

    name: str
    values: NDArray[np.float32]
    variables: tuple[str, ...]
    units: tuple[str, ...]
    mesh: Mesh
    time_step: TimeStep
    init_time: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    lead_steps: NDArray[np.int64]
    attributes: Mapping[str, str] = field(default_factory=dict)
    initial: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        cases, _, leads, nodes, variables = self.values.shape
        assert (cases,) == self.init_time.shape == self.trajectory.shape
        assert (leads,) == self.lead_steps.shape
        assert nodes == self.mesh.num_nodes
        assert self.initial is None or self.initial.shape == (*self.values.shape[:2], nodes, variables)
        assert variables == len(self.variables) == len(self.units)

    def with_initial(self) -> Forecast:
        """Return the forecast with its initial values as the lead time 0, for pictures; itself where none are known."""
        if self.initial is None:
            return self
        values = np.concatenate([self.initial[:, :, None], self.values], axis=2)
        return replace(self, values=values, lead_steps=np.concatenate([[0], self.lead_steps]), initial=None)

    @property
    def valid_time(self) -> NDArray[np.int64]:
        """Return the valid times [case, lead], int64 seconds since 1970 UTC."""
        return self.time_step.advance(self.init_time[:, None], self.lead_steps[None, :])


def accumulated(attributes: Mapping[str, str]) -> list[str]:
    """Return the variables of a forecast that are sums since the output before, by its attributes."""
    with refuse_damaged("The attribute accumulated of the forecast"):
        found: list[str] = typed_json(list[str], attributes.get("accumulated", "[]"))
    return found
