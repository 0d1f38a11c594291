"""Spectra: a single wave is a single line, and power sums to the mean square."""

import numpy as np
import pytest

from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from inference.scores import verification
from inference.scores.spectra import SharedSpectra, power_spectrum, wavenumber_axis
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth


@pytest.mark.parametrize("num_nodes", [63, 64])
def test_power_on_the_ring_sums_to_the_mean_square(num_nodes: int) -> None:
    field = np.random.default_rng(0).normal(size=(2, 5, num_nodes, 3))
    power = power_spectrum(field, ring(num_nodes))
    assert power.shape == (2, 5, num_nodes // 2 + 1, 3)
    np.testing.assert_allclose(power.sum(-2), (field**2).mean(-2))


def test_a_wave_on_the_ring_is_one_line() -> None:
    mesh = ring(64, length=4.0)
    wave = 3.0 * np.sin(5 * 2 * np.pi * np.arange(64) / 64 + 0.3)
    power = power_spectrum(wave[:, None], mesh)[:, 0]
    assert power[5] == pytest.approx(4.5) and np.delete(power, 5).max() < 1e-25
    assert wavenumber_axis(mesh).wavelength[5] == pytest.approx(0.8)


def test_zonal_power_is_weighted_by_the_area_of_the_latitude_circles() -> None:
    mesh = latlon(np.linspace(87.5, -87.5, 36), np.arange(0, 360, 5.0))
    field = np.random.default_rng(0).normal(size=(mesh.num_nodes, 1))
    np.testing.assert_allclose(power_spectrum(field, mesh).sum(), (field[:, 0] ** 2 * mesh.areas).sum())
    wave = np.cos(4 * np.radians(mesh.longitudes)) * np.cos(np.radians(mesh.latitudes))
    power = power_spectrum(wave[:, None], mesh)[:, 0]
    assert power[4] == pytest.approx(0.5 * 2 / 3, rel=2e-3) and np.delete(power, 4).max() < 1e-20


def _area(rows: int = 33, columns: int = 49) -> Mesh:
    return latlon(np.linspace(58, 50, rows), np.linspace(-10, 2, columns))


def test_a_cosine_across_a_limited_area_is_one_line() -> None:
    """Half waves of the discrete cosine transform; 8 degrees of latitude are the longer side at 54 degrees north."""
    mesh = _area()
    row = np.arange(33)[:, None] + np.zeros(49)
    power = power_spectrum((np.cos(np.pi * 10 * (row + 0.5) / 33)).reshape(-1, 1), mesh)[:, 0]
    axis = wavenumber_axis(mesh)
    peak = power.argmax()
    assert power[peak] == pytest.approx(0.5) and power.sum() == pytest.approx(0.5)
    assert axis.wavelength[peak] == pytest.approx(2 * 33 * 0.25 * 111.2 / 10, rel=0.06)


def test_a_trend_across_a_limited_area_does_not_leak_into_short_waves() -> None:
    """What the cosine transform is for: by Fourier transform, the jump at the edges gives k^-2 at all wavenumbers."""
    mesh = _area()
    trend = (mesh.latitudes - 54)[:, None]
    power = power_spectrum(trend, mesh)[:, 0]
    fourier = np.abs(np.fft.rfft(trend.reshape(33, 49)[:, 0]) / 33) ** 2 * 2
    assert power[15] / power[1] < 0.01 * fourier[7] / fourier[1]


def test_scattered_nodes_of_an_area_have_no_spectrum() -> None:
    random = np.random.default_rng(0)
    mesh = points(random.uniform(50, 60, 50), random.uniform(0, 20, 50))
    assert mesh.domain.kind == "limited_area" and wavenumber_axis(mesh) is None


def test_spectra_of_the_truth_are_computed_once_for_all_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ring_truth(num_nodes=16, trajectories=3, times=5)
    forecasts = [ring_forecast(truth, name, lag, leads=4) for name, lag in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    alone = [verify([forecast], truth)[forecast.name] for forecast in forecasts]
    asked = []
    monkeypatch.setattr(verification, "power_spectrum", lambda *a: asked.append(a) or power_spectrum(*a))
    for one, other in zip(verify(forecasts, truth).emulators, alone, strict=True):
        np.testing.assert_array_equal(one.power, other.power)
        np.testing.assert_array_equal(one.truth_power, other.truth_power)
    assert len(asked) == 4  # three forecasts and the truth


def test_spectra_that_are_too_large_to_keep_are_computed_again() -> None:
    shared, computed = SharedSpectra(room=8), []
    for _ in range(2):
        shared.get("small", lambda: computed.append("small") or np.zeros(1))
        shared.get("large", lambda: computed.append("large") or np.zeros(2))
    assert computed == ["small", "large", "large"]
