"""What the configurations of all networks share."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self

from torch import nn

from emulator.baselines.first_guess import FirstGuess, PersistenceGuess, of_departures
from emulator.emulator_config import EmulatorConfig
from emulator.features.departures import DeparturesConfig
from emulator.networks.layers.depth import refuse_endless
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(EmulatorConfig):
    """A network that corrects a first guess of the next state, and is fitted by gradient descent.

    first_guess: what the network corrects: persistence, ridge regression, whose radius and penalty are chosen by
        rollout within the training part, a linear inverse model, or a coarse solver.
    node_statistics: give each node its own mean, variability and variability of change over the training part, which
        tell land from sea and coast from inland; binds the weights to the mesh.
    departures: what the network sees and predicts, in place of the states: how they depart from a climatology, and
        from the mean anomaly of the last states. Holds for the first guess too.
    """

    width_key: ClassVar[str] = "width"  # what a budget of parameters scales
    first_guess: FirstGuess = field(default_factory=PersistenceGuess)
    node_statistics: bool = False
    departures: DeparturesConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_guess", of_departures(self.first_guess, self.departures))
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) is int and value < 1:
                raise MeshcastError(f"emulator.{item.name} must be at least 1, but is {value}.")
        refuse_endless(getattr(self, "num_layers", 1), "emulator")

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        """Return a network [batch, node, input] to [batch, node, output] with weights drawn at random, the last zero.

        graphs: those of a checkpoint, for networks that pass messages; built from the configuration where None.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it builds.")

    def with_width(self, width: int) -> Self:
        """Return the configuration with other hidden channels. Raises MeshcastError where it has no width."""
        if not hasattr(self, "width"):
            raise MeshcastError(f"A network of kind {self.kind} has no width to scale to a number of parameters.")
        return replace(self, **{"width": width})  # type: ignore[arg-type]

    @property
    def width_unit(self) -> int:
        """Return what the width must be a multiple of."""
        return 1
