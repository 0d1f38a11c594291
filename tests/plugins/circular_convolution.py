"""A plug-in in torch: a small convolutional network on a ring, for `meshcast compare --plugin` and `meshcast train`."""

from __future__ import annotations

from torch import Tensor, nn

from graphs.mesh import Mesh


class CircularConvolution(nn.Module):
    """Two convolutions around the ring, from [batch, node, input] to [batch, node, output]."""

    def __init__(self, num_inputs: int, num_outputs: int, mesh: Mesh, width: int = 16, kernel: int = 5) -> None:
        super().__init__()
        assert mesh.domain.kind == "ring"
        padding = {"padding": kernel // 2, "padding_mode": "circular"}
        self.layers = nn.Sequential(
            nn.Conv1d(num_inputs, width, kernel, **padding), nn.SiLU(), nn.Conv1d(width, num_outputs, kernel, **padding)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features.transpose(1, 2)).transpose(1, 2)


EMULATORS = {"circular convolution": CircularConvolution}
