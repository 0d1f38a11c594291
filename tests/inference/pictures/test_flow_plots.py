"""Curves of a wind show its scores, in their units, with the truth and without blurred baselines where that matters."""

import numpy as np
import pytest

from graphs.errors import MeshcastError
from inference.pictures import flow_plots
from inference.scores.scorecard import Verification
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth, sphere_forecast, sphere_truth


@pytest.fixture(scope="module")
def found() -> Verification:
    truth = sphere_truth()
    forecasts = [sphere_forecast(truth, fade=0.05), sphere_forecast(truth, "persistence", lag=9)]
    return verify(forecasts, truth, baselines=["persistence"], num_resamples=20)


def test_wind_errors_are_the_vector_rmse_and_the_share_of_energy(found: Verification) -> None:
    error, ratio = flow_plots.wind_error_curves(found).axes
    flow = found["GNN"].flow
    assert flow is not None and [line.get_label() for line in error.lines] == ["GNN", "persistence"]
    np.testing.assert_allclose(error.lines[0].get_xydata(), np.stack([6 * np.arange(1, 9), flow.vector_rmse], axis=1))
    np.testing.assert_allclose(ratio.lines[0].get_ydata(), flow.energy_ratio)
    assert error.get_ylabel() == "vector RMSE [m s⁻¹]" and error.get_xlabel() == "lead time [hours]"


def test_energy_by_degree_is_shown_at_three_leads_without_baselines(found: Verification) -> None:
    panels = flow_plots.energy_spectrum_curves(found).axes
    flow = found["GNN"].flow
    assert flow is not None and [axes.get_title("left") for axes in panels] == ["6 hours", "24 hours", "48 hours"]
    lines = {line.get_label(): line.get_ydata() for line in panels[1].lines}
    assert set(lines) == {"truth", "GNN"} and panels[0].get_ylabel() == "kinetic energy [m² s⁻²]"
    np.testing.assert_allclose(lines["GNN"], flow.spectrum[3, 1:])
    np.testing.assert_allclose(lines["truth"], flow.truth_spectrum[3, 1:])


def test_mass_and_energy_change_from_nothing_at_the_start(found: Verification) -> None:
    mass, energy = flow_plots.conservation_curves(found).axes
    flow, drift = found["GNN"].flow, found["GNN"].mean("mean_drift")[:, 0]
    assert flow is not None and flow.available_change is not None
    lines = {line.get_label(): line.get_ydata() for line in mass.lines}
    assert set(lines) == {"truth", "GNN"} and (mass.get_ylabel(), energy.get_ylabel()) == ("change [m]", "change [%]")
    np.testing.assert_allclose(lines["GNN"], [0.0, *drift])
    np.testing.assert_allclose([line.get_ydata() for line in energy.lines], 100 * np.array(flow.available_change[::-1]))


def test_a_ring_has_no_wind() -> None:
    truth = ring_truth(num_nodes=16, trajectories=2, times=5)
    with pytest.raises(MeshcastError, match="No wind on the whole sphere"):
        flow_plots.wind_error_curves(verify([ring_forecast(truth, leads=4)], truth, num_resamples=5))
