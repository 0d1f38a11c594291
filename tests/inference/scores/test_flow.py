"""The wind on the sphere: solid rotation and single harmonics have a vorticity and an energy known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs.errors import MeshcastError
from graphs.harmonics.nodes import Evaluation
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import EARTH_RADIUS, Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.points import points
from inference.scores.flow import FlowScores, harmonic_view, resolved_degree
from inference.scores.spectra import power_spectrum, wavenumber_axis
from inference.scores.verification import verify
from tests.inference.synthetic import sphere_forecast, sphere_truth


def scattered(count: int = 300) -> Mesh:
    """Nodes spread evenly at random, as stations never are."""
    index = np.arange(count) + 0.5
    wobble = np.random.default_rng(0).normal(0, 1.0, (2, count))
    latitude = np.degrees(np.arcsin(1 - 2 * index / count)) + wobble[0]
    return points(latitude.clip(-89, 89), (np.degrees(np.pi * (1 + 5**0.5) * index) + wobble[1]) % 360)


@pytest.mark.parametrize("mesh", [icosphere(2), scattered()], ids=["icosphere", "scattered"])
def test_solid_rotation_has_the_vorticity_and_the_energy_of_the_textbook(mesh: Mesh) -> None:
    speed, sine = 30.0, mesh.positions[:, 2]
    east, north = speed * np.sqrt(1 - sine**2), np.zeros(mesh.num_nodes)
    view = harmonic_view(mesh)
    np.testing.assert_allclose(view.vorticity(east, north), 2 * speed * sine / EARTH_RADIUS, atol=1e-14)
    np.testing.assert_allclose(view.divergence(east, north), 0.0, atol=1e-14)
    energy = view.kinetic_energy(east, north)
    assert energy[1] == pytest.approx(speed**2 / 3, rel=1e-9)  # the area mean of cos² is 2/3
    assert np.delete(energy, 1).max() < 1e-12


def test_energy_by_degree_sums_to_the_kinetic_energy_and_finds_a_single_harmonic() -> None:
    transform, fine = SphericalTransform(6), icosphere(3)
    turning = torch.zeros(7, 7, 1, dtype=torch.complex128)
    turning[2, 2] = 3.0 + 4.0j  # order 2, degree 4
    east, north = (part.numpy() for part in Evaluation(fine, 6).wind(turning, 0.0 * turning, transform))
    energy = harmonic_view(fine).kinetic_energy(east, north)[0]
    assert energy[4] == pytest.approx(2 * 25 / (2 * 4 * 5), rel=1e-9) and np.delete(energy, 4).max() < 1e-12
    # By Gaussian quadrature of the same wind, since the nodes' areas are a rule of low order.
    u, v = Evaluation(transform.mesh, 6).wind(turning, 0.0 * turning, transform)
    assert energy.sum() == pytest.approx(float(((u**2 + v**2) / 2) @ torch.from_numpy(transform.mesh.areas)), rel=1e-9)


def test_power_by_degree_sums_to_the_mean_square_of_what_the_nodes_resolve() -> None:
    truth = sphere_truth(level=2, trajectories=2, times=1)
    heights = truth.values[0, ..., :1].astype(np.float64)
    power = power_spectrum(heights, truth.mesh)
    assert power.shape == (2, resolved_degree(truth.mesh) + 1, 1)
    np.testing.assert_allclose(power[:, 0, 0], 1e8, rtol=1e-6)  # float32
    assert power[:, 6:].max() < 1e-4 < 1.0 < power[:, 1:6].min()
    axis = wavenumber_axis(truth.mesh)
    assert axis.wavelength[1] == pytest.approx(2 * np.pi * EARTH_RADIUS / 1000 / 2**0.5) and "degree" in axis.label


def test_nodes_with_a_hole_have_no_spectrum() -> None:
    random = np.random.default_rng(0)
    mesh = points(np.degrees(np.arcsin(random.uniform(-0.3, 1, 200))), random.uniform(0, 360, 200), whole_sphere=True)
    assert resolved_degree(mesh) is None and wavenumber_axis(mesh) is None
    with pytest.raises(MeshcastError, match="all over the sphere"):
        harmonic_view(mesh)


def test_equal_meshes_share_one_view() -> None:
    assert harmonic_view(icosphere(1)) is harmonic_view(icosphere(1))
    assert harmonic_view(icosphere(1)) is not harmonic_view(icosphere(2))


def found(**options: float) -> FlowScores:
    truth = sphere_truth()
    flow = verify([sphere_forecast(truth, **options)], truth, num_resamples=20).emulators[0].flow
    assert flow is not None
    return flow


def test_the_vector_error_is_the_length_of_the_winds_difference() -> None:
    truth = sphere_truth()
    exact = sphere_forecast(truth, lag=0)
    shifted = replace(exact, values=exact.values + np.array([0.0, 3.0, 4.0], np.float32))
    scores = verify([exact, shifted], truth, num_resamples=20).emulators
    np.testing.assert_allclose(scores[0].flow.vector_rmse, 0.0)
    np.testing.assert_allclose(scores[1].flow.vector_rmse, 5.0, rtol=1e-5)


def test_a_wind_that_fades_loses_energy_at_every_degree_alike() -> None:
    flow, leads = found(lag=0, fade=0.1), np.arange(1, 9)
    np.testing.assert_allclose(flow.energy_ratio, np.exp(-0.2 * leads), rtol=1e-5)
    expected = np.exp(-0.2 * leads)[:, None] * flow.truth_spectrum[:, 1:6]
    np.testing.assert_allclose(flow.spectrum[:, 1:6], expected, rtol=1e-4)


def test_available_energy_counts_depth_and_wind() -> None:
    flow = found(lag=0)
    forecast, truth = flow.available_change
    assert forecast[0] == truth[0] == 0.0
    np.testing.assert_allclose(forecast, truth, atol=1e-12)
    assert found(lag=0, fade=0.2).available_change[0][-1] < -0.5  # most of it is in the wind: 10 km of depth times |v|²


def test_there_is_no_flow_without_a_wind() -> None:
    truth = sphere_truth()
    forecast = sphere_forecast(truth)
    only = replace(forecast, values=forecast.values[..., :1], variables=("h",), units=("m",))
    assert verify([only], truth, num_resamples=20).emulators[0].flow is None
