"""The equation that a trajectory on a ring obeys: advection, Burgers, Korteweg-de Vries, Kuramoto-Sivashinsky."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from emulator import checkpoint
from graphs.errors import MeshcastError

EQUATIONS = ("advection", "Burgers", "Korteweg-de Vries", "Kuramoto-Sivashinsky")
TOOL = "equation_classifier"
MOST_PIECES = 16  # spread evenly over a trajectory


class TrajectoryCNN(nn.Module):
    """[piece, frame, node] on a ring to logits [piece, equation].

    Frames are channels, so that the first convolution sees differences in time and space; the later ones reach 1 + 4 +
    8 + 16 nodes together. The mean and the mean square over the ring keep no place: a turned trajectory gives the same.
    Each piece is freed of its mean and scaled by its standard deviation, so that units do not matter.
    """

    def __init__(self, num_frames: int, num_equations: int, width: int = 32) -> None:
        super().__init__()
        self.num_frames = num_frames
        layers: list[nn.Module] = []
        for channels, dilation in ((num_frames, 1), (width, 2), (width, 4)):
            padding = 2 * dilation
            layers += [nn.Conv1d(channels, width, 5, 1, padding, dilation, padding_mode="circular"), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(2 * width, num_equations)

    def forward(self, pieces: Tensor) -> Tensor:
        channels = self.layers(standardised(pieces))  # [piece, channel, node]
        pooled = torch.cat([channels.mean(dim=-1), channels.square().mean(dim=-1).add(1e-12).sqrt()], dim=-1)
        return self.output(pooled)


def standardised(pieces: Tensor) -> Tensor:
    """Return [piece, frame, node] with mean zero and standard deviation one over frames and nodes."""
    centred = pieces - pieces.mean(dim=(-2, -1), keepdim=True)
    return centred / centred.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class EquationClassifier:
    """A fitted classifier of trajectories.

    num_nodes: of the ring it was trained on; another resolution has other equations per step.
    training: what it was trained on, in words and numbers.
    """

    network: TrajectoryCNN
    num_nodes: int
    training: Mapping[str, Any]

    def name(self, trajectory: ArrayLike) -> dict[str, float]:
        """Return the probability of each equation for one trajectory [frame, node], likeliest first."""
        values = np.asarray(trajectory)
        if values.ndim != 2:
            raise MeshcastError(
                f"One trajectory has the shape [frame, node], but an array of shape {[*values.shape]} came. Give "
                "several to `probabilities`."
            )
        shares = zip(EQUATIONS, self.probabilities(values[None])[0].tolist(), strict=True)
        return dict(sorted(shares, key=lambda pair: -pair[1]))

    @torch.no_grad()
    def probabilities(self, trajectories: ArrayLike) -> NDArray[np.float64]:
        """Return [trajectory, equation] of trajectories [trajectory, frame, node] of one variable, in any unit.

        Logits are averaged over pieces spread over the trajectory, which takes their evidence as wholly dependent.
        Raises MeshcastError for another shape, for values that are no numbers, and for a field that never varies.
        """
        values = self._checked(np.asarray(trajectories))
        pieces = pieces_of(torch.from_numpy(np.ascontiguousarray(values, np.float32)), self.network.num_frames)
        logits = self.network(pieces.flatten(0, 1)).unflatten(0, pieces.shape[:2])
        return logits.double().mean(dim=1).softmax(dim=-1).numpy()

    def save(self, path: str | Path) -> None:
        """Write a checkpoint that executes nothing."""
        metadata = {
            "tool": TOOL,
            "equations": list(EQUATIONS),
            "num_nodes": self.num_nodes,
            "num_frames": self.network.num_frames,
            "width": self.network.output.in_features // 2,
            "training": dict(self.training),
        }
        checkpoint.save(path, self.network.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> EquationClassifier:
        """Read what `save` wrote; raises MeshcastError where the file is no equation classifier's checkpoint."""
        weights, metadata = checkpoint.read(path)
        if metadata.get("tool") != TOOL or metadata.get("equations") != list(EQUATIONS):
            raise MeshcastError(
                f"{path} is a Meshcast checkpoint, but not of an equation classifier of {', '.join(EQUATIONS)}. "
                "Give a file that EquationClassifier.save wrote."
            )
        with torch.random.fork_rng(devices=[]):  # weights drawn only to be replaced
            network = TrajectoryCNN(metadata["num_frames"], len(EQUATIONS), metadata["width"])
        network.load_state_dict(weights)
        return cls(network.eval(), metadata["num_nodes"], metadata["training"])

    def _checked(self, values: NDArray[Any]) -> NDArray[Any]:
        frames = self.network.num_frames
        if values.ndim != 3 or values.shape[1] < frames or values.shape[2] != self.num_nodes:
            raise MeshcastError(
                f"The equation classifier takes trajectories [trajectory, frame, {self.num_nodes}] with at least "
                f"{frames} frames, but an array of shape {[*values.shape]} came. Interpolate to {self.num_nodes} "
                "nodes, or train one for your ring with training.detectors.equation_classifier."
            )
        if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
            raise MeshcastError(
                "A trajectory holds values that are no finite numbers. Cut it where it diverges or is missing."
            )
        still = values.reshape(len(values), -1).std(axis=1) <= 1e-12 * np.abs(values).max(axis=(1, 2), initial=1e-300)
        if still.any():
            raise MeshcastError(
                f"Trajectory {int(np.flatnonzero(still)[0])} is one constant, which every one of these equations "
                "keeps. Give one that varies."
            )
        return values


def pieces_of(trajectories: Tensor, num_frames: int, most: int = MOST_PIECES) -> Tensor:
    """Return runs of consecutive frames, at most so many, from first to last: [trajectory, piece, frame, node]."""
    starts = trajectories.shape[1] - num_frames + 1
    chosen = np.unique(np.linspace(0, starts - 1, min(most, starts)).round().astype(int))
    return torch.stack([trajectories[:, start : start + num_frames] for start in chosen], dim=1)
