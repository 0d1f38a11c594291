"""Curves of a comparison show every row that means something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.comparison.curves import conservation_curves, error_curves, spectrum_curves, stability_curves
from tests.inference.comparisons import pair_of, ring_comparison
from tests.inference.synthetic import ring_forecast, ring_truth


def test_a_row_that_blew_up_leaves_the_others_their_spectra() -> None:
    truth = ring_truth(32, 4, 9)
    good = ring_forecast(truth, "ridge", 1e-3, 0.0, 8)
    comparison = pair_of(truth, good, replace(good, name="wild", values=good.values * np.float32(1e6)))
    power = comparison.verification["ridge"].truth_power
    assert power is not None
    _, high = spectrum_curves(comparison, "u").axes[0].get_ylim()
    assert 1 < high / power.max() < 1e3


def test_an_error_curve_is_the_mean_over_seeds_and_ends_where_a_seed_failed() -> None:
    comparison, _ = ring_comparison(("GNN", "UNet"), 2, 4, 8, 32)
    drawn = [line for axes in error_curves(comparison, "rmse", "u").axes for line in axes.lines]
    for label in ("GNN", "UNet"):
        mean = comparison.scores.mean(label, "rmse").value[:, 0]
        assert any(np.array_equal(line.get_ydata(), mean, equal_nan=True) for line in drawn)
    assert np.isnan(comparison.scores.mean("UNet", "rmse").value[4:]).all()
    with pytest.raises(MeshcastError, match="No row has the score crps"):
        error_curves(comparison, "crps", "u")


def test_the_share_of_stable_cases_falls_from_a_hundred_per_cent() -> None:
    comparison, _ = ring_comparison(("GNN", "UNet"), 2, 4, 8, 32)
    shares = [line.get_ydata() for axes in stability_curves(comparison, "u").axes for line in axes.lines]
    assert min(share.min() for share in shares if len(share) > 1) < 100.0  # type: ignore[union-attr]
    assert all(share[0] == 100.0 for share in shares if len(share) > 1)  # type: ignore[index, arg-type]


def test_a_drift_is_the_root_mean_square_over_cases_and_seeds() -> None:
    comparison, _ = ring_comparison(("GNN", "CNN"), 2, 4, 8, 32)
    drifts = [member.values["mean_drift"][..., 0] for member in comparison.scores.members["CNN"]]
    expected = np.sqrt((np.stack(drifts) ** 2).mean((0, 1)))
    lines = [line for axes in conservation_curves(comparison, "mean_drift", "u").axes for line in axes.lines]
    assert any(len(line.get_ydata()) == 8 and np.allclose(line.get_ydata(), expected) for line in lines)  # type: ignore[arg-type]
