"""Anomalies in sequences: errors of a reconstruction, scanned over stretches of every length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from graphs.errors import MeshcastError

Array = NDArray[np.float64]
Errors = Callable[[Array], Array]


def scan(squares: Array) -> Array:
    """[sequence, stretch] logarithm of the largest mean of squares over any stretch of 1, 2, 4, ... samples.

    squares: [sequence, time]. A fault of any duration is loud in the stretches about as long as it.
    """
    times = squares.shape[1]
    sums = np.cumsum(np.pad(squares, ((0, 0), (1, 0))), axis=1)
    lengths = [2**power for power in range(times.bit_length()) if 2**power <= times]
    means = [((sums[:, length:] - sums[:, :-length]) / length).max(axis=1) for length in lengths]
    return np.log(np.maximum(np.stack(means, axis=1), 1e-30))


@dataclass(frozen=True, eq=False)
class Detector:
    """How unlike normal sequences a sequence is.

    errors: of sequences [sequence, time], the same shape. deviation: [time] of the errors of normal sequences.
    mean, spread: [stretch] of their scans.
    """

    errors: Errors
    deviation: Array
    mean: Array
    spread: Array

    @classmethod
    def calibrated(cls, errors: Errors, normal: Array) -> Detector:
        """normal: [sequence, time] without faults, which fitted nothing."""
        own = errors(normal)
        deviation = np.sqrt(np.square(own).mean(axis=0)) + 1e-12
        scans = scan(np.square(own / deviation))
        return cls(errors, deviation, scans.mean(axis=0), scans.std(axis=0) + 1e-12)

    def score(self, sequences: Array) -> Array:
        """[sequence]: by how many standard deviations errors over any stretch exceed those of normal sequences."""
        scans = scan(np.square(self.errors(sequences) / self.deviation))
        return ((scans - self.mean) / self.spread).max(axis=1)


def reconstruction_errors(network: nn.Module) -> Errors:
    """What an autoencoder of sequences [sequence, time, 1] leaves."""

    @torch.no_grad()
    def errors(sequences: Array) -> Array:
        given = torch.as_tensor(sequences, dtype=torch.float32).unsqueeze(-1)
        return sequences - network(given).squeeze(-1).double().numpy()

    return errors


def moving_z_scores(window: int, place: Literal["before", "around"], scale: Literal["moving", "fixed"]) -> Errors:
    """Each sample less the mean of a window of its neighbours, over their standard deviation; zero where they are few.

    window: neighbours, even. place: those before the sample, or as many on either side. scale: the window's own
    standard deviation, or one for all samples, which the calibration gives.
    """
    if window < 2 or window % 2:
        raise MeshcastError(f"A moving z-score needs an even window of at least 2 samples, not {window}.")
    half = window // 2

    def errors(sequences: Array) -> Array:
        if window >= sequences.shape[1]:
            raise MeshcastError(
                f"A moving z-score over {window} samples needs longer sequences than the {sequences.shape[1]} given."
            )
        near = np.lib.stride_tricks.sliding_window_view(sequences, window + 1, axis=1)  # [sequence, place, neighbour]
        own = window if place == "before" else half
        others = np.delete(near, own, axis=-1)
        z = near[..., own] - others.mean(axis=-1)
        if scale == "moving":
            z = z / (others.std(axis=-1, ddof=1) + 1e-12)
        return np.pad(z, ((0, 0), (own, window - own)))

    return errors


def principal_components(training: Array, num_components: int) -> Errors:
    """What the leading principal components of training sequences [sequence, time] leave."""
    mean = training.mean(axis=0)
    components = np.linalg.svd(training - mean, full_matrices=False)[2][:num_components]

    def errors(sequences: Array) -> Array:
        departure = sequences - mean
        return departure - departure @ components.T @ components

    return errors


def auroc(normal: Array, anomalous: Array) -> float:
    """Probability that an anomalous sequence scores higher than a normal one: the area under the ROC curve.

    By Mann and Whitney's U; ties count one half (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    ranks = rankdata(np.concatenate([normal, anomalous]))
    above = ranks[len(normal) :].sum() - len(anomalous) * (len(anomalous) + 1) / 2
    return float(above / (len(normal) * len(anomalous)))
