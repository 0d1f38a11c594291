"""Keras twins of our convolutional and our recurrent network: the same function of the same weights, in TensorFlow.

Each is built from its torch twin, whose weights are its first ones: with one seed both begin at the same point. What is
not trained (edges of a grid, neighbours received, winds turned) becomes constants, exported with the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.cnn import CNNConfig, ConvolutionalNetwork
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_network import KerasNetwork
from emulator.networks.keras_networks.tensorflow_library import keras
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.surroundings import Surroundings
from emulator.networks.lstm import LSTM, LSTMConfig, NodeLSTM, WholeLSTM
from emulator.networks.structured import Edges, GridNetwork, PaddedConvolution, Regridding
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh

Weights = dict[str, NDArray[np.float32]]


class KerasConfig(NetworkConfig):
    """A network in Keras: its torch twin's configuration under a kind of its own."""

    family = "TensorFlow"

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> KerasNetwork:
        """Return the twin's function, weights as torch draws them. Raises MeshcastError without TensorFlow."""
        keras(self.kind)  # before anything else is built
        return keras_network_of(torch_twin(self, layout, mesh), layout, mesh, self.kind)


@dataclass(frozen=True, kw_only=True)
class KerasCNNConfig(KerasConfig, CNNConfig):  # type: ignore[misc]
    """A convolutional network in Keras on TensorFlow, which the extra `tensorflow` brings; the twin of kind `cnn`."""

    kind: Literal["keras_cnn"] = "keras_cnn"  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class KerasLSTMConfig(KerasConfig, LSTMConfig):  # type: ignore[misc]
    """A recurrent network in Keras on TensorFlow, which the extra `tensorflow` brings; the twin of kind `lstm`."""

    kind: Literal["keras_lstm"] = "keras_lstm"  # type: ignore[assignment]


def torch_config(config: KerasConfig) -> NetworkConfig:
    """Return the configuration of the torch twin."""
    twin: type[NetworkConfig] = CNNConfig if isinstance(config, CNNConfig) else LSTMConfig
    return twin(**{item.name: getattr(config, item.name) for item in fields(config) if item.name != "kind"})


def torch_twin(config: KerasConfig, layout: FeatureLayout, mesh: Mesh) -> nn.Module:
    """Return the same function of the same weights in torch."""
    return super(KerasConfig, config).build(layout, mesh)


def keras_network_of(twin: nn.Module, layout: FeatureLayout, mesh: Mesh, kind: str = "twin") -> KerasNetwork:
    """Return a torch network, with its weights, in Keras."""
    library = keras()
    features = library.Input((mesh.num_nodes, layout.num_inputs), name="features")
    weights: Weights = {}
    match twin:
        case GridNetwork():
            output = _grid_network(twin, features, weights)
        case NodeLSTM() | WholeLSTM():
            output = _recurrent(twin, features, weights)
        case _:
            raise AssertionError(f"{type(twin).__name__} has no Keras twin")
    return KerasNetwork(library.Model(features, output, name=kind), weights, getattr(twin, "regridding", ""))


def _grid_network(twin: GridNetwork, features: Any, weights: Weights) -> Any:
    ops = keras().ops
    assert isinstance(twin.inside, ConvolutionalNetwork)
    features = features if twin.there is None else _regridded(twin.there, features)
    field = ops.reshape(features, (-1, *twin.shape, features.shape[-1]))  # [batch, row, column, input]
    field = _convolutions(twin.inside, field, weights)
    output = ops.reshape(field, (-1, features.shape[1], field.shape[-1]))
    return output if twin.back is None else _regridded(twin.back, output)


def _regridded(twin: Regridding, values: Any) -> Any:
    """Return [batch, target node, channel] as `Regridding` interpolates, a few senders for each target."""
    ops = keras().ops
    senders, tables = _by_target(twin)
    received = ops.take(values, senders, axis=1)  # [batch, target, place, channel]
    scalar, cosine, sine = tables
    sent = ops.einsum("btpc,tp->btc", received, scalar)
    columns = [sent[..., column] for column in range(values.shape[-1])]
    for east, north in zip(twin.east.tolist(), twin.north.tolist(), strict=True):
        u, v = received[..., east], received[..., north]
        columns[east] = ops.sum(u * cosine - v * sine, axis=-1)
        columns[north] = ops.sum(u * sine + v * cosine, axis=-1)
    return ops.stack(columns, axis=-1)


def _by_target(twin: Regridding) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the senders [target, place] of each target, and their weights [3, target, place], else zero."""
    receivers = twin.receivers.numpy()
    order = np.argsort(receivers, kind="stable")
    counts = np.bincount(receivers, minlength=twin.num_targets)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    senders = np.zeros((twin.num_targets, counts.max()), np.int64)
    tables = np.zeros((3, *senders.shape), np.float32)
    senders[receivers[order], place] = twin.senders.numpy()[order]
    tables[:, receivers[order], place] = twin.weights.numpy()[:, order, 0]
    return senders, tables


def _convolutions(twin: ConvolutionalNetwork, field: Any, weights: Weights) -> Any:
    layers = [layer for layer in twin.layers if isinstance(layer, PaddedConvolution)]
    for index, layer in enumerate(layers):
        inside, last = layer.convolution, index == len(layers) - 1
        convolution = keras().layers.Conv2D(
            inside.out_channels,
            inside.kernel_size,
            dilation_rate=inside.dilation,
            activation=None if last else "relu",
            name="decoder" if last else f"convolution_{index}",
        )
        field = convolution(pad(layer.edges, field, layer.reach))
        assert inside.bias is not None
        weights[f"{convolution.name}.kernel"] = _array(inside.weight.permute(2, 3, 1, 0))
        weights[f"{convolution.name}.bias"] = _array(inside.bias)
    return field


def pad(edges: Edges, values: Any, reach: int) -> Any:
    """Return [batch, row + 2 · reach, column + 2 · reach, channel] as `Edges.pad` does, with channels last."""
    edges.pad(torch.empty(1, 1, *values.shape[1:3]), reach)  # refuses what reaches too far
    ops = keras().ops
    if edges.has_rows and reach:
        before = _beyond(values, reach, edges.first)
        after = ops.flip(_beyond(ops.flip(values, axis=1), reach, edges.last), axis=1)
        values = ops.concatenate([before, values, after], axis=1)
    if edges.wraps:
        west, east = values[:, :, values.shape[2] - reach :], values[:, :, :reach]
    else:
        west, east = (ops.repeat(side, reach, axis=2) for side in (values[:, :, :1], values[:, :, -1:]))
    return ops.concatenate([west, values, east], axis=2) if reach else values


def _beyond(values: Any, reach: int, edge: str) -> Any:
    ops = keras().ops
    if edge == "replicate":
        return ops.repeat(values[:, :1], reach, axis=1)
    first = 1 if edge == "pole" else 0
    return ops.roll(ops.flip(values[:, first : first + reach], axis=1), values.shape[2] // 2, axis=2)


def _recurrent(twin: NodeLSTM | WholeLSTM, features: Any, weights: Weights) -> Any:
    ops, layout = keras().ops, twin.layout
    columns = layout.sequence(torch.arange(layout.num_inputs).reshape(1, 1, -1))[0, :, 0]  # [time, channel]
    sequence = ops.take(features, columns.numpy(), axis=-1)  # [batch, node, time, channel]
    if isinstance(twin, NodeLSTM):
        received = _received(twin.surroundings, sequence)
        samples = ops.reshape(received, (-1, *received.shape[2:]))
    else:
        sequence = ops.transpose(sequence, (0, 2, 1, 3))
        samples = ops.reshape(sequence, (-1, sequence.shape[1], sequence.shape[2] * sequence.shape[3]))
    return ops.reshape(_lstm(twin.layers, samples, weights), (-1, features.shape[1], layout.num_outputs))


def _received(twin: Surroundings, sequence: Any) -> Any:
    """Return [batch, node, time, received] what `Surroundings` gives, from [batch, node, time, channel]."""
    ops = keras().ops
    received = ops.take(sequence, twin.senders.numpy(), axis=1)  # [batch, node, position, time, channel]
    if twin.winds:
        cosine, sine = (_array(part)[None, :, :, None] for part in (twin.cosine, twin.sine))
        columns = [received[..., column] for column in range(received.shape[-1])]
        for east, north in twin.winds:
            u, v = columns[east], columns[north]
            columns[east], columns[north] = u * cosine - v * sine, u * sine + v * cosine
        received = ops.stack(columns, axis=-1)
    if twin.moments is not None:
        received = ops.einsum("bnptc,npm->bnmtc", received, _array(twin.moments))
    received = ops.transpose(received, (0, 1, 3, 2, 4))
    return ops.reshape(received, (-1, *received.shape[1:3], received.shape[3] * received.shape[4]))


def _lstm(twin: LSTM, sequence: Any, weights: Weights) -> Any:
    """Return [sample, output] from [sample, time, input]. Gates stand in one order in both libraries: i, f, cell, o."""
    inside = twin.lstm
    for layer in range(inside.num_layers):
        last = layer == inside.num_layers - 1
        # A history is short: unrolled, it needs no loop.
        recurrent = keras().layers.LSTM(
            inside.hidden_size, return_sequences=not last, unroll=True, name=f"recurrence_{layer}"
        )
        sequence = recurrent(sequence)
        given = {part: getattr(inside, f"{part}_l{layer}") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        weights[f"{recurrent.name}.kernel"] = _array(given["weight_ih"].T)
        weights[f"{recurrent.name}.recurrent_kernel"] = _array(given["weight_hh"].T)
        weights[f"{recurrent.name}.bias"] = _array(given["bias_ih"] + given["bias_hh"])  # torch has two
    decoder = keras().layers.Dense(twin.decoder.out_features, name="decoder")
    weights["decoder.kernel"], weights["decoder.bias"] = _array(twin.decoder.weight.T), _array(twin.decoder.bias)
    return decoder(sequence)


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.detach().float().numpy())
