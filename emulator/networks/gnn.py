"""The graph neural network emulator: its configuration, and how it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from emulator.baselines.first_guess import PersistenceGuess
from emulator.networks.config import NetworkConfig
from emulator.networks.encode_process_decode import EncodeProcessDecode, ProcessorConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.message_passing import graphs_on
from graphs.edges.build import GraphConfig
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class GNNConfig(NetworkConfig):
    """An encode-process-decode graph network, on the mesh of its data or on one of its own.

    graph: the edges messages pass along; by default several scales on a ring or an icosphere, the eight neighbours
        elsewhere.
    processor: the message passing.
    conserving: how the network keeps the variables of task.conserved. `fixer`: the predicted change less its area mean;
        `flux`: by fluxes along the finest edges, so that every region changes by what flows across its rim alone.
    """

    family = "graph"
    width_key = "processor.latent_size"
    kind: Literal["gnn"] = "gnn"
    graph: GraphConfig | None = None
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)
    conserving: Literal["fixer", "flux"] = "fixer"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> EncodeProcessDecode:
        graphs = graphs or graphs_on(mesh, self.graph)
        conserved = self._columns_in_flux_form(layout, graphs)
        winds = [*layout.winds, *layout.seen_winds]
        return EncodeProcessDecode(
            layout.num_inputs, layout.num_outputs, graphs, self.processor, winds, conserved, mesh
        )

    def _columns_in_flux_form(self, layout: FeatureLayout, graphs: ModelGraphs) -> tuple[int, ...]:
        """Return the outputs that fluxes change. Raises MeshcastError where there are none, or no edges between
        them."""
        if self.conserving == "fixer":
            return ()
        if not layout.conserved:
            raise MeshcastError("conserving: flux needs variables to conserve. Name them in task.conserved.")
        if graphs.encoder is not None:
            raise MeshcastError(
                "Fluxes pass between the nodes the data live on, but this graph has a mesh of its own. Use data on the "
                "mesh itself, or conserving: fixer."
            )
        if not isinstance(self.first_guess, PersistenceGuess) or self.departures is not None:
            raise MeshcastError(
                "In flux form the whole change is a flux, so the first guess must be persistence, and of the state "
                "itself. Remove first_guess and departures, or use conserving: fixer."
            )
        return layout.conserved

    @property
    def width(self) -> int:
        """Return the number of features of a node between layers."""
        return self.processor.latent_size

    def with_width(self, width: int) -> Self:
        """Return the configuration with another `latent_size`, and `hidden_size` at the ratio they had."""
        hidden = max(1, round(width * self.processor.hidden_size / self.processor.latent_size))
        return replace(self, processor=replace(self.processor, latent_size=width, hidden_size=hidden))
