"""Fields on another mesh by their harmonics: what a simulation writes there, and refused where harmonics lack it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emulator.data.arrays import ArrayFields
from emulator.foundation.time_step import TimeStep
from emulator.harmonic_fields import HarmonicFields, HarmonicsConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_simulation import (
    GaussianMesh,
    SphereMesh,
    SphereSimulationConfig,
    sphere_arrays,
    sphere_mesh,
)
from emulator.physics.sphere_states import BalancedFlow
from graphs.errors import MeshcastError
from graphs.meshes.grids import RingGrid
from graphs.meshes.icosphere import IcosphereMesh

T = 10
HARMONICS = HarmonicsConfig(T, IcosphereMesh(level=1))
GRID = GaussianMesh(num_latitudes=16, num_longitudes=32)
NAMES = ("h", "u", "v")


def flow(mesh: SphereMesh) -> ArrayFields:
    """Return three trajectories of four frames of shallow water, as a simulation writes them on a mesh."""
    equation, starts = ShallowWaterConfig(truncation=T), BalancedFlow(degrees=(4, 8))
    config = SphereSimulationConfig(
        equation=equation, initial_states=starts, mesh=mesh, num_trajectories=3, num_frames=4
    )
    values = sphere_arrays(config).swapaxes(0, 1)
    step = TimeStep.parse("3h")
    times = step.advance(np.zeros(4, np.int64), np.arange(4))
    return ArrayFields(values, NAMES, ("m", "m s-1", "m s-1"), sphere_mesh(mesh), step, times)


@pytest.fixture(scope="module")
def fine() -> ArrayFields:
    return flow(GRID)


@pytest.mark.parametrize("mesh", [GRID, IcosphereMesh(level=2)], ids=["Gaussian", "icosphere"])
@pytest.mark.parametrize("cached", [True, False])
def test_the_same_truth_is_read_that_a_simulation_writes_on_the_mesh(mesh: SphereMesh, cached: bool) -> None:
    coarse = flow(HARMONICS.mesh)
    found = HarmonicFields(flow(mesh), HARMONICS, cached)
    assert found.mesh.same_nodes(coarse.mesh, 1e-12) and found.variables == NAMES
    values, expected = found.read(slice(0, 4), NAMES), coarse.values
    size = expected.std(axis=(0, 1, 2))
    assert (np.abs(values - expected).max(axis=(0, 1, 2)) < 1e-5 * size + 1e-7 * np.abs(expected).max()).all()
    for times, names, rows in ((np.array([2]), ("v",), 1), (slice(1, 3), ("u", "h"), slice(0, 2))):
        columns = [NAMES.index(name) for name in names]
        some = np.stack([values[times][:, np.arange(3)[rows]][..., column] for column in columns], axis=-1)
        some = some.reshape(found.read(times, names, rows).shape)
        np.testing.assert_allclose(found.read(times, names, rows), some, atol=1e-6 * np.abs(some).max())


def test_turned_fields_are_those_of_the_turned_grid(fine: ArrayFields) -> None:
    found = HarmonicFields(fine, HARMONICS)
    grid = fine.values.reshape(4, 3, 16, 32, 3)
    eastward = replace(fine, values=np.roll(grid, 5, axis=3).reshape(fine.values.shape))
    expected = HarmonicFields(eastward, HARMONICS).read(slice(1, 3), NAMES, 2)[:, 0]
    turned = found.read_turned(np.array([1, 2]), NAMES, 2, 5 / 32)
    np.testing.assert_allclose(turned, expected, atol=1e-6 * np.abs(expected).max())
    plain = found.read(slice(1, 3), NAMES, 2)[:, 0]
    np.testing.assert_array_equal(found.read_turned(np.array([1, 2]), NAMES, 2, 0.0), plain)
    assert np.abs(turned - plain).max() > 1.0


def test_missing_dates_stay_missing_and_a_constant_field_is_no_residual(fine: ArrayFields) -> None:
    level = np.full((*fine.values.shape[:3], 1), 9_876.5, np.float32)
    values = np.concatenate([fine.values, level], axis=-1)
    values[2] = np.nan
    gap = replace(fine, values=values, variables=(*NAMES, "p"), units=(*fine.units, "Pa"), missing=frozenset({2}))
    found = HarmonicFields(gap, HARMONICS)
    np.testing.assert_allclose(found.read(np.array([0, 3]), ("p",)), 9_876.5, rtol=1e-6)
    with pytest.raises(MeshcastError, match="no fields at"):
        found.read(slice(0, 4), NAMES)


@pytest.mark.parametrize("cached", [True, False])
def test_what_harmonics_do_not_hold_is_refused(fine: ArrayFields, cached: bool) -> None:
    short = HarmonicFields(fine, replace(HARMONICS, truncation=T - 1), cached)
    with pytest.raises(MeshcastError, match=r"up to T9 leave .* of h in .* Raise data\.harmonics\.truncation"):
        short.read(slice(0, 2), ("h",))
    with pytest.raises(MeshcastError, match=r"leave .* of u and v in"):
        short.read(slice(0, 2), ("v",))
    scalars = HarmonicFields(fine, replace(HARMONICS, winds=()), cached)
    with pytest.raises(MeshcastError, match=r"leave .* of u in"):  # a component alone has no harmonics at the poles
        scalars.read(slice(0, 2), ("u",))
    holes = replace(fine, values=np.where(np.arange(512)[:, None] == 7, np.nan, fine.values))
    with pytest.raises(MeshcastError, match="no values of h at some nodes"):
        HarmonicFields(holes, HARMONICS, cached).read(slice(0, 2), ("h",))


def test_more_than_memory_holds_is_analysed_when_it_is_read(
    fine: ArrayFields, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = HarmonicFields(fine, HARMONICS)
    monkeypatch.setattr("emulator.harmonic_fields.available_memory", lambda: 1_000)
    anew = HarmonicFields(fine, HARMONICS)
    assert kept.cached and not anew.cached and "every sample is analysed anew" in caplog.text
    given = kept.read_turned(np.array([1, 3]), NAMES, 1, 0.3)
    np.testing.assert_allclose(anew.read_turned(np.array([1, 3]), NAMES, 1, 0.3), given, rtol=1e-6, atol=1e-5)


def test_the_digest_is_of_what_is_stored(fine: ArrayFields) -> None:
    first = HarmonicFields(fine, HARMONICS).digest(NAMES)
    assert first == HarmonicFields(fine, replace(HARMONICS, mesh=IcosphereMesh(level=2)), False).digest(NAMES)
    values = fine.values.copy()
    values[3, 2, 511, 0] += 1.0
    assert HarmonicFields(replace(fine, values=values), HARMONICS).digest(NAMES) != first


def test_a_configuration_that_means_no_sphere_or_another_wind_is_refused() -> None:
    with pytest.raises(MeshcastError, match="must lie on the sphere, but is a ring"):
        HarmonicsConfig(T, RingGrid())
    with pytest.raises(MeshcastError, match="truncation must be at least 1"):
        HarmonicsConfig(0)
    HARMONICS.refuse_other_winds({"u": "v", "v": "u"})
    with pytest.raises(MeshcastError, match=r"makes 10u and 10v a wind, but data\.harmonics\.winds are \[\[u, v\]\]"):
        HARMONICS.refuse_other_winds({"10u": "10v"})
