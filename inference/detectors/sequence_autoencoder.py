"""An LSTM autoencoder: a sequence through a narrow code and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SequenceAutoencoder(nn.Module):
    """[sequence, time, channel] to its reconstruction of the same shape, through a code of a few numbers.

    An LSTM reads the sequence in both directions, its last states make the code, and a second LSTM, which is shown the
    code at every time, writes it in both directions (after Srivastava et al. 2015, arXiv:1502.04681, and Malhotra
    et al. 2016, arXiv:1607.00148, which read and write in one).

    width: hidden size of each direction. code: numbers that the whole sequence passes through.
    """

    def __init__(self, num_channels: int = 1, width: int = 32, code: int = 6) -> None:
        super().__init__()
        self.reader = nn.LSTM(num_channels, width, batch_first=True, bidirectional=True)
        self.code = nn.Linear(2 * width, code)
        self.writer = nn.LSTM(code, width, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * width, num_channels)

    def encode(self, sequences: Tensor) -> Tensor:
        """Return the code of each sequence, [sequence, code]."""
        _, (last, _) = self.reader(sequences)  # [direction, sequence, width]
        return self.code(torch.cat(tuple(last), dim=-1))

    def forward(self, sequences: Tensor) -> Tensor:
        code = self.encode(sequences)
        written, _ = self.writer(code.unsqueeze(1).expand(-1, sequences.shape[1], -1))
        return self.output(written)
