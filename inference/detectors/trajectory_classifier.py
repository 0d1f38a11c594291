"""A periodic convolutional network that says which equation a piece of trajectory obeys."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TrajectoryCNN(nn.Module):
    """[piece, frame, node] on a ring to logits [piece, equation].

    Frames are channels, so that the first convolution sees differences in time and space; the later ones reach 1 + 4 +
    8 + 16 nodes together. The mean and the mean square over the ring keep no place: a turned trajectory gives the same.
    Each piece is freed of its mean and scaled by its standard deviation, so that units do not matter.
    """

    def __init__(self, num_frames: int, num_equations: int, width: int = 32) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.layers = nn.Sequential(
            *(
                layer
                for channels, dilation in ((num_frames, 1), (width, 2), (width, 4))
                for layer in (
                    nn.Conv1d(channels, width, 5, padding=2 * dilation, dilation=dilation, padding_mode="circular"),
                    nn.SiLU(),
                )
            )
        )
        self.output = nn.Linear(2 * width, num_equations)

    def forward(self, pieces: Tensor) -> Tensor:
        channels = self.layers(standardised(pieces))  # [piece, channel, node]
        pooled = torch.cat([channels.mean(dim=-1), channels.square().mean(dim=-1).add(1e-12).sqrt()], dim=-1)
        return self.output(pooled)


def standardised(pieces: Tensor) -> Tensor:
    """Return [piece, frame, node] with mean zero and standard deviation one over frames and nodes."""
    centred = pieces - pieces.mean(dim=(-2, -1), keepdim=True)
    return centred / centred.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp(min=1e-12)
