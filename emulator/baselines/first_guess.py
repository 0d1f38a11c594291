"""What a network corrects: the present state, ridge regression on the neighbourhood, or a coarse solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import RidgeConfig
from emulator.baselines.solver_guess import SolverGuess, SolverStep
from emulator.features.departures import DeparturesConfig
from emulator.features.inputs import Inputs
from graphs.errors import MeshcastError
from graphs.kinds import ByKind
from graphs.mesh import Mesh


@dataclass(frozen=True)
class PersistenceGuess:
    """The network corrects the present state, scaled by the training tendencies."""

    kind: Literal["persistence"] = "persistence"


FirstGuess = Annotated[PersistenceGuess | RidgeConfig | SolverGuess, ByKind]


def build_first_guess(config: FirstGuess, inputs: Inputs, mesh: Mesh) -> NeighbourhoodMap | SolverStep | None:
    """Return the map of a ridge regression, its weights still zero; a solver's step; None for persistence."""
    match config:
        case SolverGuess():
            return SolverStep(config, inputs, mesh)
        case RidgeConfig():
            return NeighbourhoodMap(
                mesh, max(config.radii), inputs.num_fields, inputs.num_own, len(inputs.task.predicted)
            )
        case PersistenceGuess():
            return None


def of_departures(guess: FirstGuess, departures: DeparturesConfig | None) -> FirstGuess:
    """Return the first guess of a network that sees these departures: it sees the same ones.

    Raises MeshcastError where the guess asks for others.
    """
    if not isinstance(guess, RidgeConfig) or guess.departures == departures:
        return guess
    if guess.departures is not None:
        raise MeshcastError(
            f"A network and its first guess see the same departures, but first_guess.departures is "
            f"{guess.departures} and departures is {departures}. Give departures alone."
        )
    return replace(guess, departures=departures)
