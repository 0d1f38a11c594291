"""What the configurations of all rival networks share."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from emulator.baselines.first_guess import FirstGuess, PersistenceGuess, of_departures
from emulator.features.departures import DeparturesConfig
from graphs.errors import MeshcastError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """A network beside the graph network, under the same first guess, inputs, windows, budget and selection.

    first_guess, node_statistics, departures: as of the graph network.
    """

    first_guess: FirstGuess = field(default_factory=PersistenceGuess)
    node_statistics: bool = False
    departures: DeparturesConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_guess", of_departures(self.first_guess, self.departures))
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is int and value < 1:
                raise MeshcastError(f"emulator.{item.name} must be at least 1, but is {value}.")
