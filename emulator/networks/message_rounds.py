"""The rounds of messages of a graph network: their configuration, and the layers that a graph allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.foundation.shard_group import ShardGroup
from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from emulator.networks.layers.depth import refuse_endless
from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.layers.processors import InteractionLayer, PositionKernelLayer, ProductKernelLayer
from emulator.networks.layers.shard_kernels import ShardKernels
from emulator.networks.processors.rounds import RoundsConfig
from graphs.edges.connect import neighbour_table, relative_positions
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.mesh import Mesh
from graphs.partition import ShardEdges

SharedKernels = AngularKernels | ShardKernels | EdgeBlocks | None
MOST_POSITIONS = 128  # a table of relative positions pays while they are few: rings and regular grids
LEAST_EDGES = 4  # an edge in four or more must share its relative position, or its weights learn one place by heart


@dataclass(frozen=True)
class ProcessorConfig:
    """The message passing.

    kind: `kernel` (linear in the sender, weights from the relative position) or `interaction` (an MLP on every edge).
    num_layers: rounds of messages, each with weights of its own.
    latent_size: features of a node between layers.
    hidden_size: width inside a layer.
    num_harmonics: of the direction a kernel tells apart, cos kθ and sin kθ up to this k, where edges all differ.
    activation: what a kernel layer makes of what a node hears: `silu`, or `product`, hidden_size products of two sums
        each, so that quadratic physics such as u ∂u/∂x is exact; on a ring or a grid whose data pass messages itself.
    """

    kind: Literal["kernel", "interaction"] = "kernel"
    num_layers: int = 6
    latent_size: int = 32
    hidden_size: int = 32
    num_harmonics: int = 2
    activation: Literal["silu", "product"] = "silu"

    def __post_init__(self) -> None:
        for name in ("num_layers", "latent_size", "hidden_size", "num_harmonics"):
            if getattr(self, name) < 1:
                raise MeshcastError(f"processor.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.activation == "product" and self.kind != "kernel":
            raise MeshcastError("processor.activation: product needs processor.kind: kernel, but it is interaction.")
        refuse_endless(self.num_layers, "processor")

    def in_words(self) -> str:
        """Return what the messages are, for a paragraph on methods."""
        if self.kind == "interaction":
            return "messages by a perceptron on every edge [@battaglia2016]"
        linear = "messages linear in the sender with weights from relative positions"
        return f"{linear}, multiplied in pairs" if self.activation == "product" else linear


def layers_by_position(config: ProcessorConfig | RoundsConfig, table: Tensor) -> list[nn.Module]:
    """Return the layers of a graph whose edges have few relative positions, table [node, position] of its senders."""
    assert isinstance(config, ProcessorConfig)
    sizes = config.latent_size, table.shape[1], config.hidden_size
    if config.activation == "product":
        hops = _hops(table)
        return [ProductKernelLayer(*sizes, hops) for _ in range(config.num_layers)]
    return [PositionKernelLayer(*sizes) for _ in range(config.num_layers)]


def shared_kernels(
    config: ProcessorConfig | RoundsConfig, graph: Graph, num_vectors: int, most_octaves: int | None = None
) -> AngularKernels | EdgeBlocks | None:
    """Return what the layers on a graph share of it, where they need more than the graph itself."""
    _refuse_products(config)
    if isinstance(config, RoundsConfig):
        return EdgeBlocks(graph)
    if config.kind == "interaction":
        return None
    return AngularKernels(graph, config.num_harmonics, num_vectors, most_octaves)


def shard_kernels(
    config: ProcessorConfig | RoundsConfig,
    graph: Graph,
    edges: ShardEdges,
    group: ShardGroup,
    num_vectors: int,
    most_octaves: int | None = None,
) -> ShardKernels:
    """Return what the layers on one shard's portion of a graph share of it. Raises MeshcastError where none can."""
    _refuse_products(config)
    if not isinstance(config, ProcessorConfig) or config.kind != "kernel":
        raise MeshcastError(
            f"Messages of kind {config.kind} cannot pass on a graph split over several processes; those of "
            "processor.kind: kernel can. Use that, or leave the graph whole: training.shards=1."
        )
    return ShardKernels(graph, edges, group, config.num_harmonics, num_vectors, most_octaves)


def refuse_positions(grid: Mesh | None) -> None:
    """Raise MeshcastError: a graph whose edges have few relative positions is not split over processes."""
    where = "grid" if grid is None else grid.describe()
    raise MeshcastError(
        f"The edges of a {where} have few relative positions, each with weights of its own, and such a network cannot "
        "be split over several processes. Let messages pass on an icosphere, by graph.mesh, or leave the graph "
        "whole: training.shards=1."
    )


def rounds_of(
    config: ProcessorConfig | RoundsConfig, graph: Graph, kernels: SharedKernels, num_vectors: int
) -> list[nn.Module]:
    """Return the layers of a graph whose edges all differ, with what they share of it."""
    if isinstance(config, RoundsConfig):
        assert isinstance(kernels, EdgeBlocks)
        return [config.processor(kernels)]  # one module, whose rounds share more than nodes
    return [round_of(config, graph, kernels, num_vectors) for _ in range(config.num_layers)]


def round_of(
    config: ProcessorConfig | RoundsConfig, graph: Graph, kernels: SharedKernels, num_vectors: int
) -> nn.Module:
    """Return one such layer, as between a grid and a mesh."""
    if isinstance(config, RoundsConfig):
        assert isinstance(kernels, EdgeBlocks)
        return config.link(kernels)
    if isinstance(kernels, AngularKernels | ShardKernels):
        return AngularKernelLayer(config.latent_size, kernels, config.hidden_size)
    return InteractionLayer(config.latent_size, graph.edge_features.shape[1], config.hidden_size, num_vectors)


def senders_by_position(graph: Graph) -> Tensor | None:
    """Return senders [node, position] by relative position; None where positions are too many to have a map each."""
    classes, positions = relative_positions(graph)
    if len(positions) > min(MOST_POSITIONS, graph.num_edges // LEAST_EDGES):
        return None
    return torch.as_tensor(neighbour_table(graph, classes, len(positions)))


def _refuse_products(config: ProcessorConfig | RoundsConfig) -> None:
    if isinstance(config, ProcessorConfig) and config.activation == "product":
        raise MeshcastError(
            "processor.activation: product needs edges of few relative positions, as on a ring or a regular grid whose "
            "own nodes pass the messages, but here edges all differ. Use activation: silu."
        )


def _hops(table: Tensor) -> list[int] | None:
    """Return the hop of each position on a ring whose nodes all hear over the same hops; None elsewhere."""
    nodes = len(table)
    hops = (table[0] + nodes // 2) % nodes - nodes // 2
    same = torch.equal((torch.arange(nodes, device=table.device)[:, None] + hops) % nodes, table)
    return hops.tolist() if same else None
