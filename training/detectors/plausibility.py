"""Fit of the plausibility of histories on normal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphs.errors import MeshcastError
from inference.detectors.plausibility import Basis, Plausibility, SequenceAutoencoder, reconstruction_errors, scans
from training.optimisation.descent import DescentConfig, descend, seeded

SMALLEST = 1e-2  # error that is told from rounding and packing, in standard deviations of the fields
DESCENT = DescentConfig(epochs=60, batch_size=64, learning_rate=1e-2)


@dataclass(frozen=True, kw_only=True)
class PlausibilityConfig:
    """How the plausibility of histories is fitted.

    length: frames of a history. stride: frames between the starts of two of them in a trajectory.
    num_modes: leading EOFs that pass the autoencoder. width, code: of the autoencoder.
    held_out: share of the trajectories, the last ones, that calibrate and fit nothing.
    """

    length: int = 12
    stride: int = 2
    num_modes: int = 10
    width: int = 48
    code: int = 16
    held_out: float = 0.3
    seed: int = 0
    descent: DescentConfig = DESCENT


def fit_plausibility(
    trajectories: NDArray[np.floating], config: PlausibilityConfig | None = None, variables: Sequence[str] = ("u",)
) -> Plausibility:
    """Fit on normal trajectories [trajectory, time, node, variable], on any mesh.

    Means, scales and EOFs come from the training trajectories alone.
    """
    config = config or PlausibilityConfig()
    fitting, calibrating = _split(np.asarray(trajectories, np.float32), config)
    basis = _basis(fitting, config.num_modes)
    training, unseen = (histories(some, config.length, config.stride) for some in (fitting, calibrating))
    network = seeded(lambda: SequenceAutoencoder(len(basis.patterns), config.width, config.code), config.seed)
    amplitudes, test = (basis.amplitudes(basis.normalised(some)) for some in (training, unseen))
    descend(network, nn.functional.mse_loss, (amplitudes, amplitudes), config.descent, (test, test))
    errors = reconstruction_errors(network, basis, unseen)
    deviation = errors.square().mean(dim=0).sqrt().clamp(min=SMALLEST)
    logarithms = scans(errors / deviation)
    usual = torch.stack([logarithms.mean(dim=0), logarithms.std(dim=0).clamp(min=0.1)])
    judge = Plausibility(network, basis, deviation, usual, torch.zeros(0), tuple(variables))
    return replace(judge, normal=judge.telling(logarithms).amax(dim=1).sort().values)


def histories(trajectories: NDArray[np.floating], length: int, stride: int) -> Tensor:
    """Return runs [history, time, node, variable] of `length` frames, starts `stride` frames apart."""
    values = torch.as_tensor(np.asarray(trajectories, np.float32))
    return values.unfold(1, length, stride).movedim(-1, 2).flatten(0, 1).contiguous()


def doubtful_histories(trajectories: NDArray[np.floating], length: int = 12) -> dict[str, NDArray[np.float32]]:
    """Return histories [history, time, node, variable] of trajectories, as they are and with one fault each.

    shuffled: times in another order. backwards: in reverse. louder: departures from the mean times 1.5. stuck node: one
    node keeps its first value. frozen half-way: all nodes keep the value in the middle.
    """
    normal = histories(trajectories, length, length).numpy()
    draws = np.random.default_rng(0)
    mean = normal.mean(axis=(0, 1, 2))
    stuck, frozen = normal.copy(), normal.copy()
    place = int(draws.integers(normal.shape[2]))
    stuck[:, :, place] = stuck[:, :1, place]
    frozen[:, length // 2 :] = frozen[:, length // 2 - 1, None]
    return {
        "normal": normal,
        "shuffled": np.stack([history[draws.permutation(length)] for history in normal]),
        "backwards": normal[:, ::-1],
        "louder by half": mean + 1.5 * (normal - mean),
        "one node stuck": stuck,
        "frozen half-way": frozen,
    }


def _split(trajectories: NDArray[np.float32], config: PlausibilityConfig) -> tuple[NDArray[np.float32], ...]:
    if trajectories.ndim != 4 or len(trajectories) < 4 or trajectories.shape[1] < config.length:
        raise MeshcastError(
            f"Expected normal trajectories [trajectory, time, node, variable], at least 4 of {config.length} frames, "
            f"but came {list(trajectories.shape)}. Cut a long series into trajectories, or take a shorter length."
        )
    if not np.isfinite(trajectories).all():
        raise MeshcastError("Normal trajectories must be finite numbers throughout. Leave out what is missing.")
    first = len(trajectories) - max(1, round(config.held_out * len(trajectories)))
    return trajectories[:first], trajectories[first:]


def _basis(fitting: NDArray[np.float32], num_modes: int) -> Basis:
    values = torch.as_tensor(fitting, dtype=torch.float64).flatten(0, 1)  # [field, node, variable]
    mean = values.mean(dim=(0, 1))
    scale = values.std(dim=(0, 1)).clamp(min=1e-12)
    fields = ((values - mean) / scale).flatten(1)
    covariance = fields.T @ fields / len(fields)
    power, vectors = torch.linalg.eigh(covariance)
    patterns = vectors.flip(1)[:, :num_modes].T.unflatten(1, values.shape[1:])
    return Basis(*(array.float() for array in (mean, scale, patterns, power[-1].clamp(min=1e-12).sqrt())))
