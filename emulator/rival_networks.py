"""The rival networks: from a configuration to an emulator, with the inputs and first guess of the graph network."""

from __future__ import annotations

from torch import nn

from emulator.baselines.first_guess import build_first_guess
from emulator.baselines.solver_guess import num_seen
from emulator.features.departures import build_inputs
from emulator.networks.cnn import CNNConfig
from emulator.networks.ffnn import FFNNConfig, LocalFFNN, WholeFFNN
from emulator.networks.fno import FNOConfig
from emulator.networks.graph_convolution import GraphConvolution, GraphConvolutionConfig
from emulator.networks.grid_networks import GridNetworkConfig, build_grid_network
from emulator.networks.interaction_network import InteractionNetwork, InteractionNetworkConfig
from emulator.networks.keras_networks.keras_models import (
    KerasCNNConfig,
    KerasConfig,
    KerasLSTMConfig,
    build_keras_network,
)
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.lstm import LSTMConfig, NodeLSTM, WholeLSTM
from emulator.networks.resnet import ResNetConfig
from emulator.networks.transformer import Transformer, TransformerConfig
from emulator.networks.unet import UNetConfig
from emulator.neural import NeuralEmulator
from emulator.task import Task
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh

RivalConfig = (
    FFNNConfig
    | GridNetworkConfig
    | LSTMConfig
    | TransformerConfig
    | KerasConfig
    | GraphConvolutionConfig
    | InteractionNetworkConfig
)


def build_rival(
    config: RivalConfig, task: Task, mesh: Mesh, num_statics: int, graphs: ModelGraphs | None = None
) -> NeuralEmulator:
    """An emulator with weights drawn at random, scales and first guess still to be set.

    num_statics: columns of static features, the task's own and the nodes' statistics.
    graphs: those of a checkpoint, for the networks that pass messages; built from the configuration where None.
    """
    inputs = build_inputs(config.departures, task, mesh, num_statics)
    guess = build_first_guess(config.first_guess, inputs, mesh)
    layout = FeatureLayout.of(task, inputs, num_seen(guess))
    return NeuralEmulator(task, mesh, inputs, build_rival_network(config, layout, mesh, graphs), guess)


def build_rival_network(
    config: RivalConfig, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None
) -> nn.Module:
    """The network alone: [batch, node, input] to [batch, node, output], its last layer zero."""
    match config:
        case FFNNConfig():
            return (WholeFFNN if config.scope == "whole" else LocalFFNN)(config, layout, mesh)
        case LSTMConfig():
            return (WholeLSTM if config.scope == "whole" else NodeLSTM)(config, layout, mesh)
        case TransformerConfig():
            return Transformer(config, layout, mesh)
        case KerasCNNConfig() | KerasLSTMConfig():
            return build_keras_network(config, layout, mesh)
        case GraphConvolutionConfig():
            return GraphConvolution(config, layout, mesh, graphs)
        case InteractionNetworkConfig():
            return InteractionNetwork(config, layout, mesh, graphs)
        case CNNConfig() | ResNetConfig() | UNetConfig() | FNOConfig():
            return build_grid_network(config, layout, mesh)
