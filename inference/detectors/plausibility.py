"""How plausible a history of states is: what an autoencoder of normal histories fails to reconstruct.

A history is written by the leading empirical orthogonal functions (EOFs) of its fields, whose amplitudes pass an LSTM
autoencoder as a sequence. Two errors remain on all nodes: of the pattern, what the EOFs leave, as where one node is
stuck, and of the course, what the autoencoder does not give back, as where the order in time is wrong. Any mesh
will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from emulator import checkpoint
from graphs.errors import MeshcastError

TOOL = "plausibility"
LEAST = 1e-4  # mean square, in squared deviations of normal errors, below which an error is none
STRETCHES = ("the whole history", "one time", "one node", "one value")
SCANS = tuple(f"{error} of {stretch}" for error in ("pattern", "course") for stretch in STRETCHES)


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


@dataclass(frozen=True, eq=False)
class Basis:
    """Empirical orthogonal functions of normalised fields.

    mean, scale: [variable] of all training fields, or of each node where the mesh binds them.
    patterns: [mode, node, variable], orthonormal over nodes and variables.
    amplitude: the standard deviation of the leading mode, which all amplitudes are divided by.
    """

    mean: Tensor
    scale: Tensor
    patterns: Tensor
    amplitude: Tensor

    def normalised(self, histories: Tensor) -> Tensor:
        """Return [history, time, node, variable] in standard deviations."""
        return (histories - self.mean) / self.scale

    def amplitudes(self, normalised: Tensor) -> Tensor:
        """Return [history, time, mode]."""
        return torch.einsum("htnv,mnv->htm", normalised, self.patterns) / self.amplitude

    def fields(self, amplitudes: Tensor) -> Tensor:
        """Return [history, time, node, variable], normalised."""
        return torch.einsum("htm,mnv->htnv", amplitudes * self.amplitude, self.patterns)


@dataclass(frozen=True)
class Plausible:
    """Scores [history]: by how many standard deviations the most telling error exceeds that of normal histories.

    p_value: share of normal histories with a score as high, (1 + count) / (1 + all): at least 1 / (1 + all).
    worst: where the error is most telling, one of `SCANS`.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    worst: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Plausibility:
    """A fitted measure of how plausible histories are.

    deviation: [error, time, node, variable] of the errors of normal histories.
    usual: [2, scan] mean and standard deviation of the scans of normal histories, logarithms.
    normal: [normal history] scores of histories that fitted nothing, sorted.
    """

    network: SequenceAutoencoder
    basis: Basis
    deviation: Tensor
    usual: Tensor
    normal: Tensor
    variables: tuple[str, ...]

    def score(self, histories: ArrayLike) -> Plausible:
        """Score histories [history, time, node, variable], or one of them.

        Raises MeshcastError for another shape and for values that are no numbers.
        """
        errors = reconstruction_errors(self.network, self.basis, self._checked(np.asarray(histories)))
        score, place = self.telling(scans(errors / self.deviation)).max(dim=1)
        above = len(self.normal) - torch.searchsorted(self.normal, score)
        p_value = (1 + above).double() / (1 + len(self.normal))
        return Plausible(score.double().numpy(), p_value.numpy(), tuple(SCANS[index] for index in place.tolist()))

    def threshold(self, p_value: float) -> float:
        """Return the score above which so small a share of normal histories lies."""
        return float(torch.quantile(self.normal, 1 - p_value))

    def telling(self, logarithms: Tensor) -> Tensor:
        """Return [history, scan] in standard deviations about those of normal histories."""
        return (logarithms - self.usual[0]) / self.usual[1]

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that executes nothing."""
        arrays = {"deviation": self.deviation, "usual": self.usual, "normal": self.normal}
        arrays |= {f"network.{name}": value for name, value in self.network.state_dict().items()}
        arrays |= {f"basis.{name}": value for name, value in vars(self.basis).items()}
        sizes = {
            "num_channels": self.network.output.out_features,
            "width": self.network.reader.hidden_size,
            "code": self.network.code.out_features,
        }
        checkpoint.save(path, arrays, {"tool": TOOL, "variables": list(self.variables), "network": sizes})

    @classmethod
    def load(cls, path: str | Path) -> Plausibility:
        """Read what `save` wrote; raises MeshcastError where the file is no such checkpoint."""
        arrays, metadata = checkpoint.read(path)
        if metadata.get("tool") != TOOL:
            raise MeshcastError(
                f"{path} is a Meshcast checkpoint, but not of the plausibility of histories. Give a file that "
                "Plausibility.save wrote."
            )
        with torch.random.fork_rng(devices=[]):  # weights drawn only to be replaced
            network = SequenceAutoencoder(**metadata["network"])
        network.load_state_dict(checkpoint.arrays_under(arrays, "network."))
        basis = Basis(**checkpoint.arrays_under(arrays, "basis."))
        variables = tuple(metadata["variables"])
        return cls(network.eval(), basis, arrays["deviation"], arrays["usual"], arrays["normal"], variables)

    def _checked(self, histories: NDArray[Any]) -> Tensor:
        times, nodes, variables = self.deviation.shape[1:]
        several = histories[None] if histories.ndim == 3 else histories
        if several.ndim != 4 or several.shape[1:] != (times, nodes, variables):
            raise MeshcastError(
                f"Histories must have the shape [history, {times} times, {nodes} nodes, {variables} variables] "
                f"({', '.join(self.variables)}), but came as {list(histories.shape)}. Cut windows of {times} frames, "
                "on the mesh and with the variables that were fitted, or fit on yours with training.detectors."
            )
        if not np.isfinite(several).all():
            raise MeshcastError("A history holds values that are no finite numbers. Fill or leave out what is missing.")
        return torch.from_numpy(np.ascontiguousarray(several, np.float32))


@torch.no_grad()
def reconstruction_errors(network: SequenceAutoencoder, basis: Basis, histories: Tensor) -> Tensor:
    """Return what the EOFs leave, and what the autoencoder leaves of them: [history, error, time, node, variable]."""
    normalised = basis.normalised(histories)
    amplitudes = basis.amplitudes(normalised)
    projected = basis.fields(amplitudes)
    return torch.stack([normalised - projected, projected - basis.fields(network(amplitudes))], dim=1)


def scans(standardised: Tensor) -> Tensor:
    """Return logarithms of mean squares [history, scan]: of a history, and the largest of a time, a node and a value.

    standardised: [history, error, time, node, variable].
    """
    squares = standardised.square().mean(dim=-1)  # [history, error, time, node]
    largest = [
        squares.mean(dim=(2, 3)),
        squares.mean(dim=3).amax(dim=2),
        squares.mean(dim=2).amax(dim=2),
        standardised.square().amax(dim=(2, 3, 4)),
    ]
    return torch.stack(largest, dim=2).flatten(1).clamp(min=LEAST).log()


def verdicts(judge: Plausibility, histories: Mapping[str, ArrayLike], p_value: float = 0.05) -> pd.DataFrame:
    """Return a row for each kind of histories: share flagged, median score, and where the fault mostly shows."""
    rows = {}
    for name, some in histories.items():
        found = judge.score(some)
        rows[name] = {
            f"flagged at {p_value:g}": float((found.p_value <= p_value).mean()),
            "median score": round(float(np.median(found.score)), 1),
            "most often by": max(SCANS, key=found.worst.count),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
