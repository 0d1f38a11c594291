"""PyTorch Geometric's own convolutions, each in a residual layer: what a library offers, to rank beside the others."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.layers.mlp import mlp
from emulator.networks.layers.recomputation import RoundByRound
from emulator.networks.processors.rounds import RoundsConfig
from graphs.errors import MeshcastError

LayerName = Literal[
    "GATv2Conv",
    "TransformerConv",
    "ResGatedGraphConv",
    "NNConv",
    "GINEConv",
    "CGConv",
    "CFConv",
    "ChebConv",
    "GCNConv",
    "SAGEConv",
    "GraphConv",
    "PNAConv",
]


@dataclass(frozen=True)
class Option:
    """What an option of a layer may be, in words and as a question, and what it is where it is left out."""

    default: bool | int | float | str
    words: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Layer:
    """What is known of one of the library's layers.

    edges: what it takes of an edge: its `features`, its `weight`, its `length`, or `nothing`.
    two_meshes: whether senders and receivers may be of two kinds; else both are nodes of one graph.
    undirected: whether that graph must have an edge back for every edge.
    in_batches: whether it takes [batch, node, channel]; else samples go through one by one.
    """

    edges: Literal["features", "weight", "length", "nothing"]
    options: Mapping[str, Option] = field(default_factory=dict)
    two_meshes: bool = True
    undirected: bool = False
    in_batches: bool = False


MOST = 100  # heads, towers, terms or layers of one convolution


def _whole(default: int) -> Option:
    words = f"a whole number from 1 to {MOST}"
    return Option(default, words, lambda value: type(value) is int and 1 <= value <= MOST)


def _number(default: float, words: str, fits: Callable[[float], bool] = lambda _: True) -> Option:
    return Option(default, words, lambda value: type(value) in (int, float) and math.isfinite(value) and fits(value))


def _switch(default: bool) -> Option:
    return Option(default, "true or false", lambda value: type(value) is bool)


def _choice(default: str, *others: str) -> Option:
    return Option(default, f"one of {', '.join((default, *others))}", lambda value: value in (default, *others))


LAYERS: dict[str, Layer] = {
    "GATv2Conv": Layer("features", {"heads": _whole(4), "negative_slope": _number(0.2, "a number"),
                                    "share_weights": _switch(False)}),
    "TransformerConv": Layer("features", {"heads": _whole(4), "beta": _switch(False)}),
    "ResGatedGraphConv": Layer("features"),
    "NNConv": Layer("features", {"aggr": _choice("add", "mean", "max")}),
    "GINEConv": Layer("features", {"eps": _number(0.0, "a number"), "train_eps": _switch(False)}, in_batches=True),
    "CGConv": Layer("features", {"aggr": _choice("add", "mean", "max")}),
    "CFConv": Layer("length", {"cutoff": _number(1.5, "a number above 1, in longest edges", lambda value: value > 1)},
                    two_meshes=False, in_batches=True),
    "ChebConv": Layer("weight", {"K": _whole(3), "normalization": _choice("sym", "rw")},
                      two_meshes=False, undirected=True, in_batches=True),
    "GCNConv": Layer("weight", {"improved": _switch(False)}, two_meshes=False, undirected=True, in_batches=True),
    "SAGEConv": Layer("nothing", {"aggr": _choice("mean", "add", "max"), "normalize": _switch(False),
                                  "project": _switch(False)}, in_batches=True),
    "GraphConv": Layer("weight", {"aggr": _choice("add", "mean", "max")}, in_batches=True),
    "PNAConv": Layer("features", {"towers": _whole(1), "pre_layers": _whole(1), "post_layers": _whole(1)},
                     two_meshes=False),
}  # fmt: skip
DIVISORS = ("heads", "towers")  # options that must divide latent_size
PNA_AGGREGATORS, PNA_SCALERS = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]


@dataclass(frozen=True, kw_only=True)
class PyGConfig(RoundsConfig):
    """A convolution of PyTorch Geometric: h_i <- h_i + Conv(LN(h))_i,   h_i <- h_i + MLP(LN(h_i)).

    Layers that know edges get their features; GCNConv, ChebConv and GraphConv get their weights, CFConv their lengths,
    SAGEConv neither. Between two meshes GCNConv and ChebConv take every edge in both directions.
    layer: attention (GATv2Conv, TransformerConv), gates (ResGatedGraphConv, CGConv), weights from the edge's features
        (NNConv, GINEConv, CFConv), spectral (ChebConv, GCNConv), sums and means (SAGEConv, GraphConv, PNAConv).
    options: of the layer, by the library's names. GATv2Conv: heads, negative_slope, share_weights; TransformerConv:
        heads, beta; NNConv, CGConv, GraphConv, SAGEConv: aggr, the last also normalize and project; GINEConv: eps,
        train_eps; CFConv: cutoff, in longest edges; ChebConv: K, normalization; GCNConv: improved; PNAConv: towers,
        pre_layers, post_layers.
    """

    layer: LayerName
    kind: Literal["pyg"] = "pyg"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer not in LAYERS:
            raise MeshcastError(
                f"processor.layer must be one of {', '.join(get_args(LayerName))}, but is "
                f"{self.layer!r}.{_nearest(self.layer, LAYERS)}"
            )
        known = LAYERS[self.layer].options
        for name, value in self.options.items():
            if name not in known:
                raise MeshcastError(
                    f"processor.options of {self.layer} may be {', '.join(known) or 'none'}, but one is "
                    f"{name!r}.{_nearest(name, known)}"
                )
            if not known[name].fits(value):
                raise MeshcastError(
                    f"processor.options.{name} of {self.layer} must be {known[name].words}, but is {value!r}."
                )
        if self.latent_size % self.width_unit:
            raise MeshcastError(
                f"processor.latent_size must be a multiple of the {self.width_unit} heads or towers of {self.layer}, "
                f"but is {self.latent_size}."
            )

    def in_words(self) -> str:
        return f"messages by PyTorch Geometric's {self.layer} [@pyg]"

    @property
    def width_unit(self) -> int:
        chosen = self.chosen
        return next((int(chosen[name]) for name in DIVISORS if name in chosen), 1)

    @property
    def chosen(self) -> dict[str, Any]:
        """Return the layer's options, those left out at their defaults."""
        return {name: self.options.get(name, option.default) for name, option in LAYERS[self.layer].options.items()}

    def rounds(self, edges: EdgeBlocks, num_layers: int, two_meshes: bool) -> nn.Module:
        return ConvolutionRounds(ConvolutionRound(self, edges, two_meshes) for _ in range(num_layers))


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""


class ConvolutionRounds(RoundByRound, nn.ModuleList):
    """Convolutions one after another."""

    def forward(self, edges: EdgeBlocks, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent]."""
        for one in self:
            senders = receivers = self.in_round(one, edges, senders, receivers)
        return receivers


class ConvolutionRound(nn.Module):
    """One convolution and an MLP of each node, both residual, behind a LayerNorm.

    two_meshes: whether senders and receivers are the nodes of two meshes.
    """

    def __init__(self, config: PyGConfig, edges: EdgeBlocks, two_meshes: bool) -> None:
        super().__init__()
        self.layer, self.two_meshes = config.layer, two_meshes
        self.joined = two_meshes and not self.about.two_meshes  # senders and receivers as nodes of one graph
        self.norm, self.update_norm = nn.LayerNorm(config.latent_size), nn.LayerNorm(config.latent_size)
        self.convolution = _convolution(config, edges, two_meshes)
        self.update = mlp([config.latent_size, config.hidden_size, config.latent_size])

    @property
    def about(self) -> Layer:
        return LAYERS[self.layer]

    def forward(self, edges: EdgeBlocks, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent] from [batch, node, latent] both."""
        nodes = normed = self.norm(receivers)
        edge_index: Tensor = edges.edge_index
        if self.joined:
            nodes = torch.cat([self.norm(senders), normed], dim=-2)
            edge_index = torch.stack([edge_index[0], edge_index[1] + senders.shape[-2]])
        elif self.two_meshes:
            nodes = self.norm(senders)
        about = self._about_edges(edges, normed.dtype)
        if self.about.undirected and self.joined:
            edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
            about = [torch.cat([values, values]) for values in about]
        inputs: list[Any] = [nodes, normed] if self.two_meshes and not self.joined else [nodes]
        if self.about.in_batches:
            changed = self._convolved(inputs, edge_index, about)
        else:  # the graph is not copied for each sample
            changed = torch.stack([self._convolved(each, edge_index, about) for each in zip(*inputs, strict=True)])
        latent = receivers + (changed[..., -receivers.shape[-2] :, :] if self.joined else changed)
        return latent + self.update(self.update_norm(latent))

    def _convolved(self, inputs: Any, edge_index: Tensor, about: list[Tensor]) -> Tensor:
        return self.convolution(tuple(inputs) if len(inputs) == 2 else inputs[0], edge_index, *about)

    def _about_edges(self, edges: EdgeBlocks, dtype: torch.dtype) -> list[Tensor]:
        """Return what the layer takes of edges, in the order of its arguments."""
        features = edges.features.to(dtype)
        match self.about.edges:
            case "features":
                return [features]
            case "length":
                return [features[:, edges.feature_names.index("length")], features]
            case "weight":
                ones = features.new_ones(len(features))
                return [ones if edges.weights is None else edges.weights.to(dtype).flatten()]
        return []


def _convolution(config: PyGConfig, edges: EdgeBlocks, two_meshes: bool) -> nn.Module:
    """Return the library's layer from `latent_size` to `latent_size` channels."""
    from torch_geometric.nn import conv
    from torch_geometric.nn.models.schnet import CFConv

    width, known, options = config.latent_size, edges.features.shape[1], config.chosen
    match config.layer:
        case "GATv2Conv":  # two meshes have no node in common that could hear itself
            heads = width // options["heads"]
            return conv.GATv2Conv(width, heads, edge_dim=known, add_self_loops=not two_meshes, **options)
        case "TransformerConv":
            return conv.TransformerConv(width, width // options["heads"], edge_dim=known, **options)
        case "ResGatedGraphConv":
            return conv.ResGatedGraphConv(width, width, edge_dim=known)
        case "NNConv":
            return conv.NNConv(width, width, mlp([known, config.hidden_size, width * width]), **options)
        case "GINEConv":
            return conv.GINEConv(mlp([width, config.hidden_size, width]), edge_dim=known, **options)
        case "CGConv":
            return conv.CGConv(width, dim=known, **options)
        case "CFConv":
            return CFConv(width, width, width, mlp([known, config.hidden_size, width]), **options)
        case "ChebConv":
            return conv.ChebConv(width, width, **options)
        case "GCNConv":
            return conv.GCNConv(width, width, **options)
        case "SAGEConv":
            return conv.SAGEConv(width, width, **options)
        case "GraphConv":
            return conv.GraphConv(width, width, **options)
    degrees = torch.bincount(edges.edge_index[1], minlength=edges.num_receivers)
    if two_meshes:
        degrees = torch.cat([degrees.new_zeros(edges.num_senders), degrees])
    return conv.PNAConv(width, width, PNA_AGGREGATORS, PNA_SCALERS, torch.bincount(degrees), edge_dim=known, **options)
