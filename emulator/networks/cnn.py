"""Convolutional networks: layer upon layer of the same small kernel, plain or dilated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emulator.networks.layers.mlp import zeroed
from emulator.networks.structured import Edges, PaddedConvolution, StructuredConfig
from graphs.errors import MeshcastError
from graphs.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class CNNConfig(StructuredConfig):
    """A convolutional network; ConvNet 34 x 10 of APEBench as it stands (Koehler et al. 2024, arXiv:2411.00180).

    width: channels of every hidden layer; num_layers: hidden layers, each a convolution and a ReLU.
    kernel_size: nodes along each axis, odd.
    dilations: of the hidden layers in turn, from the first again where there are more layers.
    """

    kind: Literal["cnn"] = "cnn"
    width: int = 34
    num_layers: int = 10
    kernel_size: int = 3
    dilations: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size % 2 == 0:
            raise MeshcastError(
                f"emulator.kernel_size must be odd, so that a node stands in the middle, but is {self.kernel_size}."
            )
        if not self.dilations or min(self.dilations) < 1:
            raise MeshcastError(f"emulator.dilations must be whole numbers from 1 on, but is {list(self.dilations)}.")

    def in_words(self) -> str:
        dilated = "" if self.dilations == (1,) else f", dilated by {', '.join(map(str, self.dilations))} in turn"
        size = f"{self.num_layers} hidden layers of {self.width} channels and kernels of {self.kernel_size} nodes"
        return f"a convolutional network [@koehler2024] of {size}{dilated}"

    def inside(self, num_inputs: int, num_outputs: int, mesh: Mesh) -> nn.Module:
        return ConvolutionalNetwork(self, num_inputs, num_outputs, mesh)


class ConvolutionalNetwork(nn.Module):
    """[batch, input, row, column] to [batch, output, row, column] by convolutions; every node alike."""

    def __init__(self, config: CNNConfig, num_inputs: int, num_outputs: int, mesh: Mesh) -> None:
        super().__init__()
        edges, size = Edges.of(mesh), config.kernel_size
        layers: list[nn.Module] = []
        channels = num_inputs
        for index in range(config.num_layers):
            dilation = config.dilations[index % len(config.dilations)]
            layers += [PaddedConvolution(channels, config.width, edges, size, dilation), nn.ReLU()]
            channels = config.width
        last = PaddedConvolution(channels, num_outputs, edges, size)
        zeroed(last.convolution)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, values: Tensor) -> Tensor:
        return self.layers(values)
