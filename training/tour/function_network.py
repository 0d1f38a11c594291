"""Networks that say of which kind a sampled function is."""

from __future__ import annotations

from torch import Tensor, nn

from emulator.networks.layers.mlp import mlp
from training.tour.sampled_functions import KINDS, NUM_SAMPLES

CHANNELS = (16, 32)
HIDDEN = 128
EQUALLY_WIDE = 429  # two hidden layers of this width have the CNN's parameters, to 0.03 %


class FunctionCNN(nn.Module):
    """1 x 50 → 16 x 50 → 32 x 50 = 1600 → 128 → 4: two convolutions of five points, then two full layers.

    [function, sample] to the logits [function, kind].
    """

    def __init__(self) -> None:
        super().__init__()
        first, second = CHANNELS
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, first, 5, padding=2), nn.ReLU(), nn.Conv1d(first, second, 5, padding=2), nn.ReLU()
        )
        self.layers = nn.Sequential(nn.Linear(second * NUM_SAMPLES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(KINDS)))

    def forward(self, functions: Tensor) -> Tensor:
        channels = self.convolutions(functions.unsqueeze(1))  # [function, channel, sample]
        return self.layers(channels.flatten(1))


def function_ffnn(width: int = EQUALLY_WIDE) -> nn.Sequential:
    """The rival without convolutions: [function, sample] to the logits [function, kind]."""
    return mlp((NUM_SAMPLES, width, width, len(KINDS)))
