"""The networks that need a structured grid, by configuration."""

from __future__ import annotations

from torch import nn

from emulator.networks.cnn import CNNConfig, ConvolutionalNetwork
from emulator.networks.fno import FNOConfig, FourierOperator
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.resnet import ResidualNetwork, ResNetConfig
from emulator.networks.structured import GridNetwork
from emulator.networks.unet import UNet, UNetConfig
from graphs.mesh import Mesh

GridNetworkConfig = CNNConfig | ResNetConfig | UNetConfig | FNOConfig


def build_grid_network(config: GridNetworkConfig, layout: FeatureLayout, mesh: Mesh) -> GridNetwork:
    """[batch, node, input] to [batch, node, output], its last layer zero; MeshcastError on a mesh without structure."""

    def inside(num_inputs: int, num_outputs: int, grid: Mesh) -> nn.Module:
        match config:
            case CNNConfig():
                return ConvolutionalNetwork(config, num_inputs, num_outputs, grid)
            case ResNetConfig():
                return ResidualNetwork(config, num_inputs, num_outputs, grid)
            case UNetConfig():
                return UNet(config, num_inputs, num_outputs, grid)
            case FNOConfig():
                return FourierOperator(config, num_inputs, num_outputs, grid)

    return GridNetwork(config.kind, layout, mesh, config.grid, inside)
