"""What a round of messages costs: ours, those of other models, and the libraries' own beside them.

python benchmarks/message_rounds.py [--level 5] [--width 128] [--batch 1] [--repeats 7] [--threads 1] [--names NAME ...]

Prints JSON: for each round on the multi-mesh of an icosphere the processor milliseconds of a forward pass without
gradients and of a training step (forward and backward, gradients of nodes and weights), medians of interleaved runs in
one process with the lowest and highest, and the megabytes a training step keeps between the two. `textbook` is
GraphCast's interaction network with edge state on PyTorch Geometric's MessagePassing, as it is written down; names
that begin with `anemoi-models` are the blocks of that package, where it is installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable
from importlib.util import find_spec
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.layers.processors import InteractionLayer
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import InteractionRound
from emulator.networks.processors.pyg import LAYERS, PyGConfig
from graphs.edges.build import default_graphs
from graphs.graph import Graph
from graphs.meshes.icosphere import icosphere

Round = tuple[nn.Module, Callable[[], Tensor], list[Tensor]]  # weights, one pass, inputs that have gradients
HEADS = 4


class Textbook(MessagePassing):
    """A concatenation on every edge and at every node, an MLP of each, sums, and residuals on nodes and edges."""

    def __init__(self, width: int) -> None:
        super().__init__(aggr="sum", node_dim=-2)
        self.edge_mlp, self.node_mlp = (
            nn.Sequential(nn.Linear(inputs * width, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width))
            for inputs in (3, 2)
        )

    def forward(self, nodes: Tensor, state: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        received = self.propagate(edge_index, x=nodes, state=state)
        return nodes + self.node_mlp(torch.cat([nodes, received], dim=-1)), state + self.sent

    def message(self, x_j: Tensor, x_i: Tensor, state: Tensor) -> Tensor:
        self.sent = self.edge_mlp(torch.cat([state, x_j, x_i], dim=-1))
        return self.sent


def with_state(name: str, graph: Graph, width: int, batch: int) -> Round:
    """One round whose edges have a state already, as all but the first and last have."""
    if name == "textbook":
        layer: Any = Textbook(width)
        nodes, state = torch.randn(batch, graph.num_receivers, width), torch.randn(batch, graph.num_edges, width)
        inputs = [nodes.requires_grad_(), state.requires_grad_()]
        return layer, lambda: sum(map(torch.sum, layer(*inputs, graph.edge_index))), inputs
    silu, gelu, edges = nn.functional.silu, nn.functional.gelu, EdgeBlocks(graph)
    layer = InteractionRound(width, [width], [width], silu)
    if name == "anemoi_graph_convolution":
        layer = InteractionRound(width, [width] * 2, [width] * 2, gelu, sums_states=True)
    inputs = [torch.randn(count, batch, width).requires_grad_() for count in (graph.num_receivers, graph.num_edges)]

    def run() -> Tensor:
        received, kept = layer(edges, inputs[1], inputs[0], inputs[0], keep_state=True)
        return received.sum() + kept.sum()

    return layer, run, inputs


def of_nodes(name: str, graph: Graph, width: int, batch: int) -> Round:
    """One round between nodes, whose edges keep nothing."""
    nodes = torch.randn(batch, graph.num_receivers, width).requires_grad_()
    sizes: dict[str, Any] = {"num_layers": 1, "latent_size": width, "hidden_size": width}
    if name == "kernel":
        edges: Any = AngularKernels(graph, num_vectors=width // 8)
        layer: nn.Module = AngularKernelLayer(width, edges, width)
    elif name == "interaction":
        edges, layer = graph, InteractionLayer(width, graph.edge_features.shape[1], width, width // 8)
    else:
        edges = EdgeBlocks(graph)
        if name == "anemoi_graph_transformer":
            config: Any = AnemoiGraphTransformerConfig(**{**sizes, "hidden_size": 4 * width}, num_heads=HEADS)
        else:
            config = PyGConfig(layer=name, **sizes)  # type: ignore[arg-type]
        layer = config.processor(edges)
    return layer, lambda: layer(edges, nodes, nodes).sum(), [nodes]


def of_anemoi(name: str, graph: Graph, width: int, batch: int) -> Round:
    """One block of anemoi-models, a batch as copies of the graph, as its models run it."""
    from anemoi.models.distributed.shapes import GraphShardInfo
    from anemoi.models.layers.block import GraphConvProcessorBlock, GraphTransformerProcessorBlock
    from anemoi.models.layers.utils import load_layer_kernels

    kernels, count = load_layer_kernels(None), batch * graph.num_receivers
    offsets = graph.num_receivers * torch.arange(batch).repeat_interleave(graph.num_edges)
    edge_index = graph.edge_index.repeat(1, batch) + offsets
    shards = GraphShardInfo(nodes=[count], edges=[batch * graph.num_edges])
    nodes = torch.randn(count, width).requires_grad_()
    if name.endswith("graph convolution"):
        layer: Any = GraphConvProcessorBlock(
            in_channels=width, out_channels=width, num_chunks=1, layer_kernels=kernels, edge_dim=None
        )
        state = torch.randn(batch * graph.num_edges, width).requires_grad_()
        return layer, lambda: sum(map(torch.sum, layer(nodes, state, edge_index, shards))), [nodes, state]
    known = graph.edge_features.float().repeat(batch, 1)
    layer = GraphTransformerProcessorBlock(
        in_channels=width,
        hidden_dim=4 * width,
        out_channels=width,
        num_heads=HEADS,
        edge_dim=known.shape[1],
        layer_kernels=kernels,
        graph_attention_backend="pyg",
    )
    return (
        layer,
        lambda: layer(nodes, known, edge_index, GraphShardInfo([count], [len(known)]), batch, count)[0].sum(),
        [nodes],
    )


def rounds() -> dict[str, Callable[[str, Graph, int, int], Round]]:
    """What can be measured here, by name."""
    found: dict[str, Callable[[str, Graph, int, int], Round]] = {
        name: with_state for name in ("textbook", "graphcast", "anemoi_graph_convolution")
    }
    found |= {name: of_nodes for name in ("anemoi_graph_transformer", "kernel", "interaction", *LAYERS)}
    if find_spec("anemoi") is not None and find_spec("anemoi.models") is not None:
        found |= {f"anemoi-models' graph {name}": of_anemoi for name in ("convolution", "transformer")}
    return found


def kept(run: Callable[[], Tensor], given: list[Tensor]) -> float:
    """The megabytes a pass keeps for its gradient, without weights."""
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        run()
    weights = {values.untyped_storage().data_ptr() for values in given}
    return sum(size for pointer, size in storages.items() if pointer not in weights) / 1e6


def summary(seconds: list[float]) -> dict[str, float]:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return {name: round(1e3 * value, 2) for name, value in (("median", middle), ("lowest", low), ("highest", high))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("level", 5), ("width", 128), ("batch", 1), ("repeats", 7), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--names", nargs="+", choices=list(rounds()), default=["textbook", "graphcast"])
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    graph = default_graphs(icosphere(chosen.level)).processor
    cases = {name: rounds()[name](name, graph, chosen.width, chosen.batch) for name in chosen.names}
    forward: dict[str, list[float]] = {name: [] for name in cases}
    training: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(chosen.repeats + 1):
        for name, (layer, run, inputs) in cases.items():
            with torch.no_grad():
                start = process_time()
                run()
                alone = process_time() - start
            start = process_time()
            run().backward()
            whole = process_time() - start
            for values in (*inputs, *layer.parameters()):
                values.grad = None
            if number:  # the first warms up
                forward[name].append(alone)
                training[name].append(whole)
    report = {
        "nodes": graph.num_receivers,
        "edges": graph.num_edges,
        **vars(chosen),
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "milliseconds": {
            name: {"forward": summary(forward[name]), "training": summary(training[name])} for name in cases
        },
        "megabytes kept": {
            name: round(kept(run, list(layer.parameters())), 1) for name, (layer, run, _) in cases.items()
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
