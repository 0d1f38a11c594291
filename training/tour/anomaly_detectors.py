"""Fitting what flags anomalous sensor sequences: an LSTM autoencoder, and rivals at the best of their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.detectors.sequence_autoencoder import SequenceAutoencoder
from training.optimisation.descent import DescentConfig, Losses, descend, seeded
from training.tour.anomaly_scores import (
    Detector,
    Errors,
    auroc,
    moving_z_scores,
    principal_components,
    reconstruction_errors,
)
from training.tour.sensor_sequences import ANOMALIES, SensorConfig, anomalous_sequences, noisy, normal_sequences

if TYPE_CHECKING:
    import pandas as pd

DESCENT = DescentConfig(epochs=25, batch_size=64, learning_rate=1e-2)
NUM_TRAINING, NUM_CALIBRATION = 2560, 1000
WINDOWS = (2, 4, 6, 8, 12, 16, 24, 32)
PLACES: tuple[Literal["before", "around"], ...] = ("before", "around")
SCALES: tuple[Literal["moving", "fixed"], ...] = ("moving", "fixed")
COMPONENTS = tuple(range(2, 31, 2))
UNSEEN, TUNING = 10_000, 20_000  # seeds from here on belong to the test, and to tuning the rivals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FittedAutoencoder:
    """An autoencoder of sensor sequences, the detector it makes, and its history (mean squared errors)."""

    network: SequenceAutoencoder
    detector: Detector
    losses: Losses


def fit_autoencoder(
    config: SensorConfig | None = None, seed: int = 0, descent: DescentConfig = DESCENT
) -> FittedAutoencoder:
    """Train on normal sequences alone, with noise drawn anew each time one is shown; the target has no noise.

    So the code learns the wave form, not the noise (Vincent et al. 2008, doi:10.1145/1390156.1390294). Calibrated on
    normal sequences as read, which trained nothing.
    """
    config = config or SensorConfig()
    generator = torch.Generator().manual_seed(seed)
    clean = normal_sequences(config, NUM_TRAINING, generator).unsqueeze(-1)
    held_out = normal_sequences(config, NUM_CALIBRATION, generator)
    readings = noisy(config, held_out, generator)
    network = seeded(SequenceAutoencoder, seed)

    def with_noise(batch: Tensor, generator: torch.Generator) -> Tensor:
        return noisy(config, batch, generator)

    test = (readings.unsqueeze(-1), held_out.unsqueeze(-1))
    losses = descend(network, nn.functional.mse_loss, (clean, clean), descent, test, with_noise)
    detector = Detector.calibrated(reconstruction_errors(network), readings.double().numpy())
    return FittedAutoencoder(network, detector, losses)


def tuned_z_score(config: SensorConfig | None = None, seed: int = 0) -> tuple[Detector, str]:
    """The moving z-score whose AUROC over all anomalies is best on sequences of tuning; and what it is."""
    settings = [
        (f"window of {window} samples {place}, {scale} scale", moving_z_scores(window, place, scale))
        for window in WINDOWS
        for place in PLACES
        for scale in SCALES
    ]
    return _best(settings, config or SensorConfig(), seed)


def tuned_pca(config: SensorConfig | None = None, seed: int = 0) -> tuple[Detector, str]:
    """PCA reconstruction with the number of components whose AUROC over all anomalies is best on sequences of tuning.

    A kindness: it sees anomalies when it is tuned, the autoencoder never.
    """
    config = config or SensorConfig()
    training = readings(config, NUM_TRAINING, seed)
    settings = [(f"{count} components", principal_components(training, count)) for count in COMPONENTS]
    return _best(settings, config, seed)


def readings(config: SensorConfig, count: int, seed: int) -> Array:
    """[sequence, time] of normal sequences as read."""
    generator = torch.Generator().manual_seed(seed)
    return noisy(config, normal_sequences(config, count, generator), generator).double().numpy()


def faults(config: SensorConfig, count: int, seed: int, size: float = 5.0, change: float = 0.25) -> dict[str, Array]:
    """[sequence, time] of each kind of anomaly."""
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: anomalous_sequences(kind, config, count, generator, size, change).double().numpy() for kind in ANOMALIES
    }


def areas(
    detector: Detector, config: SensorConfig | None = None, count: int = 1000, seed: int = 0, size: float = 5.0
) -> dict[str, float]:
    """AUROC on unseen sequences: of each kind of anomaly, and of all pooled.

    size: of spike, drift and flat line, in standard deviations of the noise.
    """
    config = config or SensorConfig()
    return _areas(detector, readings(config, 2 * count, UNSEEN + seed), faults(config, count, UNSEEN + 1 + seed, size))


def table(detectors: Mapping[str, Detector], seed: int = 0) -> pd.DataFrame:
    """AUROC of several detectors, a row each, by kind of anomaly and pooled, to three digits."""
    import pandas as pd

    return pd.DataFrame({name: areas(detector, seed=seed) for name, detector in detectors.items()}).T.round(3)


@torch.no_grad()
def examples(
    fitted: FittedAutoencoder, config: SensorConfig | None = None, seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One unseen sequence [time] of each kind, two normal ones first, and what the autoencoder gives back."""
    config = config or SensorConfig()
    normal = readings(config, 2, UNSEEN + seed)
    shown = {"normal": normal[0], "normal, another speed": normal[1]}
    shown |= {kind: sequences[0] for kind, sequences in faults(config, 1, UNSEEN + 1 + seed).items()}
    given = torch.as_tensor(np.stack(list(shown.values())), dtype=torch.float32).unsqueeze(-1)
    returned = fitted.network(given).squeeze(-1).double().numpy()
    return shown, dict(zip(shown, returned, strict=True))


def _areas(detector: Detector, normal: Array, anomalous: Mapping[str, Array]) -> dict[str, float]:
    usual = detector.score(normal)
    scores = {kind: detector.score(sequences) for kind, sequences in anomalous.items()}
    by_kind = {kind: auroc(usual, unusual) for kind, unusual in scores.items()}
    return by_kind | {"pooled": auroc(usual, np.concatenate(list(scores.values())))}


def _best(settings: Sequence[tuple[str, Errors]], config: SensorConfig, seed: int) -> tuple[Detector, str]:
    calibration = readings(config, NUM_CALIBRATION, seed + 1)
    normal, anomalous = readings(config, 1000, TUNING + seed), faults(config, 500, TUNING + 1 + seed)
    detectors = [Detector.calibrated(errors, calibration) for _, errors in settings]
    pooled = [_areas(detector, normal, anomalous)["pooled"] for detector in detectors]
    best = int(np.argmax(pooled))
    return detectors[best], settings[best][0]
