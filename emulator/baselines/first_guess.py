"""What a network corrects: the present state, ridge regression, a linear inverse model, a forced response, a solver."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.baselines.coarse_solver import fields_of_shallow_water
from emulator.baselines.forced_response import (
    ForcedConfig,
    ForcedResponseConfig,
    ImpulseResponseConfig,
    PatternScalingConfig,
)
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import RidgeConfig
from emulator.features.departures import DeparturesConfig
from emulator.features.inputs import Inputs
from emulator.features.periodic_mean import bin_of
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver
from emulator.task import refuse_transforms
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from graphs.mesh import Mesh


@dataclass(frozen=True)
class PersistenceGuess:
    """The network corrects the present state, scaled by the training tendencies."""

    kind: Literal["persistence"] = "persistence"


@dataclass(frozen=True)
class SolverGuess:
    """The network corrects a coarse shallow-water solver; the task predicts h, u and v.

    equation: of the solver; its truncation T, (T + 1)² below the number of nodes. Without diffusion by default: a
        network has no need to put back what diffusion took, and each step's fit to the nodes holds the state to T.
    seen: whether the network sees the solver's change of the state, and the scales beyond T that it leaves alone.
    """

    kind: Literal["solver"] = "solver"
    equation: ShallowWaterConfig = field(
        default_factory=lambda: ShallowWaterConfig(
            truncation=15, longest_step=5400.0, diffusion=None, precision="float32"
        )
    )
    seen: bool = True


FittedGuess = LinearInverseConfig | PatternScalingConfig | ImpulseResponseConfig | ForcedResponseConfig
FirstGuess = Annotated[PersistenceGuess | RidgeConfig | FittedGuess | SolverGuess, ByKind]


def guess_in_words(config: FirstGuess) -> str:
    """Return a first guess as a paragraph on methods names it."""
    match config:
        case SolverGuess():
            truncation = config.equation.truncation
            return f"a spectral shallow-water solver at T{truncation} [@williamson1992; @whitaker2013]"
        case RidgeConfig() | LinearInverseConfig() | ForcedConfig():
            return config.in_words()
        case PersistenceGuess():
            return "persistence"


def build_first_guess(
    config: FirstGuess, inputs: Inputs, mesh: Mesh
) -> NeighbourhoodMap | LinearInverseStep | ForcedStep | SolverStep | None:
    """Return the map of a ridge regression, its weights still zero; the step of a linear inverse model or of a forced
    response still to be fitted, or of a solver; None for persistence."""
    match config:
        case SolverGuess():
            return SolverStep(config, inputs, mesh)
        case LinearInverseConfig():
            return LinearInverseStep(config, inputs, mesh)
        case ForcedConfig():
            return ForcedStep(config, inputs, mesh)
        case RidgeConfig():
            return NeighbourhoodMap(
                mesh, max(config.radii), inputs.num_fields, inputs.num_own, len(inputs.task.predicted)
            )
        case PersistenceGuess():
            return None


def of_departures(guess: FirstGuess, departures: DeparturesConfig | None) -> FirstGuess:
    """Return the guess of a network with these departures: it sees the same. Raises MeshcastError for others."""
    if isinstance(guess, LinearInverseConfig):
        if departures is None or departures.recent or departures.period != guess.period:
            raise MeshcastError(
                f"A linear inverse model forecasts departures from the climatology by {guess.period} alone, but the "
                f"network's departures are {departures}. Set departures={{period: {guess.period}}}, or another "
                "first_guess."
            )
        return guess
    if isinstance(guess, ForcedConfig) and departures is not None:
        raise MeshcastError("A forced response forecasts whole fields. Leave out departures with it.")
    if not isinstance(guess, RidgeConfig) or guess.departures == departures:
        return guess
    if guess.departures is not None:
        raise MeshcastError(
            f"A network and its first guess see the same departures, but first_guess.departures is "
            f"{guess.departures} and departures is {departures}. Give departures alone."
        )
    return replace(guess, departures=departures)


class LinearInverseStep(nn.Module):
    """One step of a linear inverse model from the departures that a network sees.

    model: fitted on the training part, from the same climatology.
    """

    def __init__(self, config: LinearInverseConfig, inputs: Inputs, mesh: Mesh) -> None:
        super().__init__()
        refuse_transforms(inputs.task, f"The first guess {config.kind}")
        self.model = config.build(replace(inputs.task, boundary=False), mesh)
        self._inputs = (inputs,)  # in a tuple: its scales are not for this module to store

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised next values [batch, node, predicted]; a diagnostic variable keeps its climatology."""
        inputs = self._inputs[0]
        count = inputs.num_prognostic
        now, std = features[..., inputs.num_fields - count : inputs.num_fields], inputs.std[:count]
        later = self.model.after((now * std).unsqueeze(1)).squeeze(1).to(features.dtype) / std
        return nn.functional.pad(later, (0, len(inputs.std) - count))


class ForcedStep(nn.Module):
    """The forced response at the time that a network is to forecast, from the forcings that it sees.

    model: fitted on the training part.
    """

    def __init__(self, config: ForcedConfig, inputs: Inputs, mesh: Mesh) -> None:
        super().__init__()
        refuse_transforms(inputs.task, f"The first guess {config.kind}")
        self.model = config.build(replace(inputs.task, boundary=False), mesh)
        self._inputs = (inputs,)  # in a tuple: its scales are not for this module to store

    def forward(self, features: Tensor, valid_time: NDArray[np.int64]) -> Tensor:
        """Return the normalised values [batch, node, predicted] one time step after states at `valid_time` [batch]."""
        inputs = self._inputs[0]
        bins = bin_of(inputs.task.time_step.advance(valid_time), self.model.config.by)
        count = len(inputs.task.forcing)
        first = inputs.num_fields + inputs.task.history * count  # after those of the history
        given = features[:, 0, first : first + count]
        values = self.model.response(given * inputs.forcing_std + inputs.forcing_mean, bins)
        return ((values - inputs.mean) / inputs.std).to(features.dtype)


class SolverStep(nn.Module):
    """One time step of a coarse solver from the state at a mesh's nodes, added to that state.

        guess(x) = x + E (S(P x) - P x)

    P: least-squares fit of harmonics up to T to the nodes. S: the solver, one time step of the task. E: evaluation at
    the nodes. What lies beyond T persists, so that the network need only move it.

    inputs: the scales by which states are normalised; mesh: the nodes.
    seen_std: [2 · prognostic] of the solver's change and of the rest beyond T, normalised; ones until measured.
    """

    def __init__(self, config: SolverGuess, inputs: Inputs, mesh: Mesh) -> None:
        super().__init__()
        if type(inputs) is not Inputs:
            raise MeshcastError("A solver advances whole fields. Leave out departures with first_guess.kind: solver.")
        refuse_transforms(inputs.task, "The solver of first_guess")
        if config.equation.heating is not None:
            raise MeshcastError(
                "A first guess sees the state and not the time, so that its solver can have no heating. Leave "
                "first_guess.equation.heating away and give the network the heating as forcings."
            )
        self.order = fields_of_shallow_water(inputs.task)
        self.back = np.argsort(self.order)  # from h, u, v to the task's order
        self.config, self._inputs = config, (inputs,)  # in a tuple: its scales are not for this module to store
        self.solver = SphereSolver(config.equation, inputs.task.time_step, mesh)
        self.seen_std = nn.Buffer(torch.ones(2 * inputs.num_prognostic))

    @property
    def winds(self) -> list[tuple[int, int]]:
        """Return (eastward, northward) columns of `seen`."""
        _, east, north = self.order
        return [(east, north), (len(self.order) + east, len(self.order) + north)]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised next values [batch, node, predicted], and what a network sees of the solver: its change
        of the state, and what of the state lies beyond T, [batch, node, 2 · prognostic]."""
        inputs = self._inputs[0]
        mean, std = (scale[self.order] for scale in (inputs.mean, inputs.std))
        now = features[..., inputs.num_fields - inputs.num_prognostic : inputs.num_fields]
        values = now[..., self.order] * std + mean  # h, u, v
        spectrum = self.solver.analysis(values)
        equation = self.solver.equation(values.device)
        change = equation.advance(spectrum, float(inputs.task.time_step.count)) - spectrum
        change = equation.of_depth(change)  # which synthesis takes back
        change, spectrum = self.solver.synthesis(torch.cat([change, spectrum], dim=-1)).to(values).tensor_split(2)
        change, rest = ((part / std)[..., self.back] for part in (change, values - spectrum))
        return now + change, torch.cat([change, rest], dim=-1) / self.seen_std
