"""The graph network: encode, process, decode (Battaglia et al. 2018, arXiv:1806.01261, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from emulator.baselines.first_guess import PersistenceGuess
from emulator.foundation.shard_group import ShardGroup
from emulator.networks.config import NetworkConfig
from emulator.networks.layers.constants import GraphBuffers, constant
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.flux_decoder import FluxDecoder
from emulator.networks.layers.linear_path import LinearPath
from emulator.networks.layers.message_passing import graphs_on
from emulator.networks.layers.mlp import mlp
from emulator.networks.layers.processors import NodeEmbedding
from emulator.networks.layers.recomputation import RoundByRound
from emulator.networks.layers.shard_kernels import ShardKernels
from emulator.networks.message_rounds import (
    ProcessorConfig,
    SharedKernels,
    layers_by_position,
    refuse_positions,
    round_of,
    rounds_of,
    senders_by_position,
    shard_kernels,
    shared_kernels,
)
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig
from emulator.networks.processors.pyg import PyGConfig
from emulator.networks.processors.rounds import RoundsConfig
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.kinds import ByKindOrFirst
from graphs.mesh import Mesh
from graphs.partition import Partition, partition
from graphs.space_filling import hilbert_order

CACHED_NUMBERS = {False: 650_000, True: 2_600_000}  # nodes by latent features, in single precision and lowered
MANY_NUMBERS = 1_000_000  # of nodes times features: from here on their order decides what a core's cache can keep


AnyProcessorConfig = Annotated[
    ProcessorConfig | GraphCastConfig | AnemoiGraphConvolutionConfig | AnemoiGraphTransformerConfig | PyGConfig,
    ByKindOrFirst,
]


@dataclass(frozen=True, kw_only=True)
class GNNConfig(NetworkConfig):
    """An encode-process-decode graph network, on the mesh of its data or on one of its own.

    graph: the edges messages pass along; by default several scales on a ring or an icosphere, the eight neighbours
        elsewhere.
    processor: the message passing, ours or that of other models.
    conserving: how the network keeps the variables of task.conserved. `fixer`: the predicted change less its area mean;
        `flux`: by fluxes along the finest edges, so that every region changes by what flows across its rim alone.
    linear_reach: nodes up to which the prognostic fields around a node change it by a linear map too, one weight a
        displacement, beside the messages; half of a ring's nodes are the whole ring. None by default. It makes linear
        physics exact, and needs a ring or a grid.
    """

    family = "graph"
    width_key = "processor.latent_size"
    kind: Literal["gnn"] = "gnn"
    graph: GraphConfig | None = None
    processor: AnyProcessorConfig = field(default_factory=ProcessorConfig)
    conserving: Literal["fixer", "flux"] = "fixer"
    linear_reach: int | None = None

    def in_words(self) -> str:
        rounds = self.processor
        edges = " along the edges of several levels of an icosphere [@lam2023]" if self._multi_mesh else ""
        size = f"width {rounds.latent_size} between and {rounds.hidden_size} inside them"
        messages = f"{rounds.num_layers} round{'s' * (rounds.num_layers > 1)} of {rounds.in_words()}{edges}, of {size}"
        beside = "" if self.linear_reach is None else f", beside a linear map of nodes up to {self.linear_reach} away"
        return f"an encode-process-decode graph network [@battaglia2018] with {messages}{beside}"

    @property
    def _multi_mesh(self) -> bool:
        return self.graph is not None and isinstance(self.graph.processor, MultiMeshEdges)

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> EncodeProcessDecode:
        graphs = graphs or graphs_on(mesh, self.graph)
        conserved = self._columns_in_flux_form(layout, graphs)
        winds, sizes = [*layout.winds, *layout.seen_winds], (layout.num_inputs, layout.num_outputs)
        linear = None if self.linear_reach is None else LinearPath(mesh, self.linear_reach, layout.num_fields, sizes[1])
        return EncodeProcessDecode(*sizes, graphs, self.processor, winds, conserved, mesh, linear)

    def build_shard(
        self, layout: FeatureLayout, mesh: Mesh, group: ShardGroup, graphs: ModelGraphs | None = None
    ) -> EncodeProcessDecode:
        """Return one shard's portion of the network, [batch, own node, input] to [batch, own node, output].

        Its weights are the whole network's, drawn alike; of the graphs it keeps what its own nodes hear.
        Raises MeshcastError where the network cannot be split.
        """
        if self.conserving == "flux" or self.linear_reach is not None:
            name = "conserving: flux" if self.conserving == "flux" else "emulator.linear_reach"
            raise MeshcastError(
                f"A graph network with {name} cannot be split over several processes. Leave it out, or leave the graph "
                "whole: training.shards=1."
            )
        whole = graphs or graphs_on(mesh, self.graph)
        winds = [*layout.winds, *layout.seen_winds]
        network = EncodeProcessDecode(
            layout.num_inputs, layout.num_outputs, whole, self.processor, winds, grid=mesh, group=group
        )
        network.rebuilt = lambda: graphs_on(mesh, self.graph)
        return network

    def _columns_in_flux_form(self, layout: FeatureLayout, graphs: ModelGraphs) -> tuple[int, ...]:
        """Return the outputs that fluxes change. Raises MeshcastError where none can."""
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
        if self.linear_reach is not None:
            raise MeshcastError(
                "In flux form the whole change is a flux, but emulator.linear_reach adds to it what is none. Remove "
                "linear_reach, or use conserving: fixer."
            )
        return layout.conserved

    @property
    def width(self) -> int:
        """Return the number of features of a node between layers."""
        return self.processor.latent_size

    @property
    def width_unit(self) -> int:
        """Return what `latent_size` must be a multiple of: attention's heads."""
        return self.processor.width_unit if isinstance(self.processor, RoundsConfig) else 1

    def with_width(self, width: int) -> Self:
        """Return the configuration with another `latent_size`, and `hidden_size` at the ratio they had."""
        hidden = max(1, round(width * self.processor.hidden_size / self.processor.latent_size))
        return replace(self, processor=replace(self.processor, latent_size=width, hidden_size=hidden))


class EncodeProcessDecode(RoundByRound):
    """A network on the nodes of a grid: [batch, node, input] to [batch, node, output].

    Data live on the grid. Messages pass on the mesh of `graphs`: grid nodes send to mesh nodes (encoder edges), these
    to one another (processor), and back to the grid (decoder edges), where each node still knows its own features.
    Without a mesh of their own, messages pass on the grid itself. A mesh node starts from its latitude alone: its
    longitude would tell one rotation about the axis from another. The last layer starts at zero.

    winds: (eastward, northward) columns of the input that are a vector, turned from node to node.
    conserved: outputs whose change is made of fluxes along the edges of `grid`, where data live; see `FluxDecoder`.
    linear: of the features on the grid, added to what the decoder gives.
    group: the processes that the graphs are split over; nodes are then those of this process's shard, in its order.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        graphs: ModelGraphs,
        config: ProcessorConfig | RoundsConfig,
        winds: Sequence[tuple[int, int]] = (),
        conserved: Sequence[int] = (),
        grid: Mesh | None = None,
        linear: LinearPath | None = None,
        group: ShardGroup | None = None,
    ) -> None:
        super().__init__()
        latent, graph = config.latent_size, graphs.processor
        self.latent_size = latent
        self.mesh = graphs.mesh if graphs.encoder is not None else None
        self.partition: Partition | None = None
        self.rebuilt: Callable[[], ModelGraphs] | None = None  # the whole graphs, of which a shard keeps its portion
        if group is not None:
            assert grid is not None, "nodes are divided by where they lie"
            self.partition = partition(graphs, grid, group.shard.count, config.num_layers)
        else:
            self.processor_graph = GraphBuffers(graph)
        positions = senders_by_position(graph) if config.kind == "kernel" and graphs.encoder is None else None
        if positions is not None and group is not None:
            refuse_positions(grid)
        self.on_positions = positions is not None
        self.nodewise = config.kind == "kernel" and not self.on_positions  # [node, batch, latent] between the layers
        self.order: Tensor | None
        self.place: Tensor | None
        kept = self.nodewise and group is None  # a shard's nodes follow the curve already
        self.order, self.place = _order_in_memory(self.mesh or grid, latent) if kept else (None, None)
        links = _renumbered(graphs, self.place)
        turned = "rotation_cos" in graph.feature_names and not self.on_positions  # frames differ but on a ring
        num_vectors = latent // 8 if winds and turned and isinstance(config, ProcessorConfig) else 0
        self.encoder = (
            NodeEmbedding(num_inputs, latent, winds, num_vectors) if num_vectors else nn.Linear(num_inputs, latent)
        )
        self.decoder = mlp([latent, latent, num_outputs], zero_last=True)
        layers: list[nn.Module]
        if positions is not None:
            self.table = nn.Buffer(positions)
            layers = layers_by_position(config, positions)
        else:
            self.processor_kernels = self._kernels("processor", config, links.processor, num_vectors, group)
            layers = rounds_of(config, graph, self.processor_kernels, num_vectors)
        self.processor = nn.ModuleList(layers)
        if graphs.encoder is not None:
            assert graphs.decoder is not None and graphs.mesh is not None, "an encoder needs a mesh and a way back"
            if group is None:
                self.encoder_graph = GraphBuffers(graphs.encoder)
                self.decoder_graph = GraphBuffers(graphs.decoder)
            assert links.encoder is not None and links.decoder is not None
            self.encoder_kernels = self._kernels("encoder", config, links.encoder, num_vectors, group, 1)
            self.decoder_kernels = self._kernels("decoder", config, links.decoder, num_vectors, group, 1)
            self.to_mesh = round_of(config, graphs.encoder, self.encoder_kernels, num_vectors)
            self.to_grid = round_of(config, graphs.decoder, self.decoder_kernels, num_vectors)
            latitude = np.radians(graphs.mesh.latitudes)
            features = torch.from_numpy(np.stack([np.sin(latitude), np.cos(latitude)], axis=1))
            if self.partition is not None and group is not None:
                features = features[self.partition.mesh.nodes(group.shard.number)]
            self.mesh_features = nn.Buffer(features if self.order is None else features[self.order], persistent=False)
            self.mesh_embedding = nn.Linear(features.shape[1], latent)
        self.linear = linear
        self.fluxes: FluxDecoder | None = None
        self.conserved = list(conserved)
        if conserved:
            assert grid is not None, "fluxes need to know the areas they enter"
            self.fluxes = FluxDecoder(latent, config.hidden_size, len(conserved), graph, grid)

    def _kernels(
        self,
        name: str,
        config: ProcessorConfig | RoundsConfig,
        graph: Graph,
        num_vectors: int,
        group: ShardGroup | None,
        most_octaves: int | None = None,
    ) -> SharedKernels:
        if self.partition is None or group is None:
            return shared_kernels(config, graph, num_vectors, most_octaves)
        edges = self.partition.edges(name, graph, group.shard.number)
        return shard_kernels(config, graph, edges, group, num_vectors, most_octaves)

    def forward(self, features: Tensor) -> Tensor:
        some = self._at_once(features)
        if some < len(features):
            return torch.cat([self._output(part) for part in features.split(some)])
        return self._output(features)

    def _at_once(self, features: Tensor) -> int:
        """Return how many samples of a forecast to take at a time: as many as stay in a cache."""
        kind = features.device.type
        if not self.nodewise or torch.is_grad_enabled() or kind != "cpu":
            return len(features)
        numbers = CACHED_NUMBERS[torch.is_autocast_enabled(kind)]
        # All shards take as many: each passes on what the others wait for.
        nodes = features.shape[1] if self.partition is None else max(self.partition.grid.sizes)
        return max(1, numbers // (nodes * self.latent_size))

    def _output(self, features: Tensor) -> Tensor:
        latent = self._processed(self.encoder(self._in_memory(features) if self.nodewise else features))
        output = self.decoder(latent)
        if self.nodewise:
            output = self._as_given(output)
        if self.linear is not None:
            output = output + self.linear(features)
        if self.fluxes is None:
            return output
        columns = torch.tensor(self.conserved, device=output.device)
        latent = self._as_given(latent) if self.nodewise else latent
        return output.index_copy(-1, columns, self.fluxes(latent).to(output.dtype))

    def _in_memory(self, features: Tensor) -> Tensor:
        """Return [node, batch, feature] in the order in memory from [batch, node, feature] in the grid's order."""
        features = features.transpose(0, 1)
        if self.order is None or self.mesh is not None:
            return features.contiguous()
        return features.index_select(0, self.order)

    def _as_given(self, values: Tensor) -> Tensor:
        if self.place is not None and self.mesh is None:
            values = values.index_select(0, self.place)
        return values.transpose(0, 1)

    def _processed(self, on_grid: Tensor) -> Tensor:
        """Return the grid nodes' latent features after all messages, [batch, node, latent] or [node, batch, latent]."""
        latent = on_grid
        if self.mesh is not None:
            on_mesh = self.mesh_embedding(self.mesh_features.to(on_grid.dtype))  # [mesh node, latent]
            batch = on_grid.shape[1 if self.nodewise else 0]
            on_mesh = on_mesh[:, None].expand(-1, batch, -1) if self.nodewise else on_mesh.expand(batch, -1, -1)
            latent = self._passed(self.to_mesh, self._edges("encoder"), on_grid, on_mesh)
        edges = self.table if self.on_positions else self._edges("processor")
        for layer in self.processor:
            latent = self._passed(layer, edges, latent, latent)
        if self.mesh is not None:
            latent = self._passed(self.to_grid, self._edges("decoder"), latent, on_grid)
        return latent

    def _edges(self, name: str) -> Any:
        kernels = getattr(self, f"{name}_kernels")
        return getattr(self, f"{name}_graph").graph if kernels is None else kernels

    def _passed(self, layer: Any, edges: Any, senders: Tensor, receivers: Tensor) -> Tensor:
        one = layer.nodewise if self.nodewise else layer
        over = (edges.passed, one) if isinstance(edges, ShardKernels) else (one, edges)
        return self.in_round(*over, senders, receivers)

    @property
    def graphs(self) -> ModelGraphs:
        """Return the graphs it was built from, as a checkpoint keeps them."""
        if self.rebuilt is not None:
            return self.rebuilt()
        if self.mesh is None:
            return ModelGraphs(self.processor_graph.graph)
        return ModelGraphs(
            self.processor_graph.graph, self.encoder_graph.graph, self.decoder_graph.graph, mesh=self.mesh
        )


def _order_in_memory(mesh: Mesh | None, latent: int) -> tuple[nn.Buffer, nn.Buffer] | tuple[None, None]:
    """Return the nodes in their order in memory, and where each one stands, [node]; None to keep it."""
    if mesh is None or mesh.num_nodes * latent < MANY_NUMBERS:
        return None, None
    order = hilbert_order(mesh.positions)
    return constant(order), constant(np.argsort(order))


def _renumbered(graphs: ModelGraphs, place: Tensor | None) -> ModelGraphs:
    """Return the graphs of nodes as they stand in memory: those that pass messages, on the grid or on a mesh."""
    if place is None:
        return graphs
    if graphs.encoder is None or graphs.decoder is None:
        return ModelGraphs(graphs.processor.renumbered(place, place))
    encoder, decoder = graphs.encoder.renumbered(None, place), graphs.decoder.renumbered(place, None)
    return ModelGraphs(graphs.processor.renumbered(place, place), encoder, decoder, graphs.mesh)
