"""A comparison with known faults: waves on the ring that lag, fade and roughen, several seeds a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emulator.data.arrays import ArrayFields
from emulator.data.forecast import Forecast
from inference.comparison.story import ComparisonStory, RowInfo, Trial
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth

# label, kind, lag [nodes a step], growth a step, trainable weights
ROWS: tuple[tuple[str, str, float, float, int], ...] = (
    ("GNN", "gnn", 0.004, -0.0005, 48_000),
    ("ridge", "ridge", 0.03, -0.002, 0),
    ("damped anomaly", "damped_anomaly", 0.9, -0.05, 0),
    ("FFNN, whole field", "ffnn", 0.08, 0.0, 70_000),
    ("FFNN, local", "ffnn", 0.02, 0.001, 9_000),
    ("CNN", "cnn", 0.006, 0.0, 49_000),
    ("dilated CNN", "cnn", 0.007, -0.001, 51_000),
    ("ResNet", "resnet", 0.005, -0.001, 47_000),
    ("UNet", "unet", 0.012, 0.001, 52_000),
    ("FNO", "fno", 0.002, 0.0, 330_000),
    ("LSTM, per node", "lstm", 0.03, -0.004, 44_000),
    ("LSTM, whole field", "lstm", 0.15, -0.01, 61_000),
    ("Transformer", "transformer", 0.02, 0.0, 50_000),
    ("graph convolution", "graph_convolution", 0.6, -0.03, 45_000),
    ("interaction network", "interaction_network", 0.01, 0.0, 46_000),
    ("GNN, no noise", "gnn", 0.006, 0.002, 48_000),
    ("Keras CNN", "keras_cnn", 0.006, 0.0, 49_000),
    ("Keras LSTM", "keras_lstm", 0.04, -0.004, 44_000),
    ("their_forecast_2024", "forecast_file", 0.05, 0.0, 0),
    ("persistence", "persistence", 1.0, 0.0, 0),
)
CLOSED = ("ridge", "damped_anomaly", "persistence", "forecast_file")


def ring_comparison(
    labels: Sequence[str] | None = None,
    seeds: int = 3,
    trajectories: int = 6,
    leads: int = 40,
    num_nodes: int = 64,
    rough: float = 0.002,
) -> tuple[Verification, ComparisonStory, list[Forecast], ArrayFields]:
    """Verification, story, forecasts and truth; one row diverges half-way in a seed, and one failed to train."""
    truth = ring_truth(num_nodes, trajectories, leads + 1)
    forecasts, infos, members = [], [], 0
    for label, kind, lag, growth, weights in ROWS:
        if labels is not None and label not in labels:
            continue
        own = []
        for seed in range(1 if kind in CLOSED else seeds):
            random = np.random.default_rng([seed, members])
            factor = 1.0 if kind in CLOSED else float(np.exp(0.3 * random.normal()))
            forecast = ring_forecast(truth, label, lag * factor, growth * factor, leads)
            values = forecast.values + rough * random.normal(size=forecast.values.shape).astype(np.float32)
            if label == "UNet" and seed == 1:
                values[0, :, leads // 2 :] = np.nan
            own.append(replace(forecast, values=values, attributes={} if kind in CLOSED else {"seed": str(seed)}))
            members += 1
        forecasts += own
        closed = kind in CLOSED
        names = (label,) if len(own) == 1 else tuple(f"{label} (seed {seed})" for seed in range(len(own)))
        diverged = label == "UNet" and seeds > 1
        infos.append(
            RowInfo(
                label,
                kind,
                "diverged" if diverged else "loaded" if kind == "forecast_file" else "done",
                reasons=("seed 1: score not finite by update 900",) if diverged else (),
                members=names,
                seeds=() if closed else tuple(range(len(own))),
                parameters={"trainable": weights, "fixed": 12_000 if kind == "ridge" else 0},
                updates=None if closed else 2_000,
                learning_rate=None if closed else 1e-3,
                history=None if kind == "forecast_file" else 1,
                batch_size=None if closed else 32,
                training_seconds=() if closed else tuple(300.0 + 10 * weights**0.5 + seed for seed in range(len(own))),
                inference_seconds=None if kind == "forecast_file" else 1e-5 * (1 + weights / 900),
                regridding="bilinear from their grid of 1°" if kind == "forecast_file" else "",
                differences=("history of 2 instead of 1",) if kind == "lstm" else (),
                settings={} if closed else {"training.learning_rate": 1e-3},
            )
        )
    infos.append(RowInfo("plain RNN & more_%", "plugin", "failed", reasons=("seed 0: out of memory",)))
    verification = verify(forecasts, truth, climatology=np.zeros(1), baselines=["persistence"])
    trials = tuple(
        Trial(row.label, {"training.learning_rate": rate}, 500, 0.1 / (1 + place), 12.0, "done", chosen=place == 1)
        for row in infos
        if row.settings
        for place, rate in enumerate((3e-3, 1e-3))
    )
    story = ComparisonStory("ring", "nrmse", infos[0].label, tuple(infos), trials, ("LSTM: history of 2, others 1",))
    return verification, story, forecasts, truth
