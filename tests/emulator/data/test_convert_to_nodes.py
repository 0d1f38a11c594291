"""Global files to an icosphere by harmonics: what a simulation writes there, less what lies beyond the truncation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from emulator.data.convert import convert
from emulator.data.sources import open_fields
from emulator.harmonic_fields import HarmonicsConfig
from emulator.physics.climate_simulation import ClimateSimulationConfig
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.simulate import simulate
from emulator.physics.sphere_simulation import GaussianMesh, LatLonMesh, SphereSimulationConfig
from emulator.physics.sphere_states import BalancedFlow
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh

T = 10
NODES = HarmonicsConfig(T, IcosphereMesh(level=2), beyond="cut")
FLOW = SphereSimulationConfig(
    equation=ShallowWaterConfig(truncation=T),
    initial_states=BalancedFlow(degrees=(4, 8)),
    mesh=IcosphereMesh(level=2),
    num_trajectories=2,
    num_frames=3,
)
NAMES = ("h", "u", "v")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same flow at the nodes, on a grid with poles, and of that a file of The Well."""
    found = tmp_path_factory.mktemp("flow")
    simulate(FLOW, found / "nodes.zarr")
    grid = LatLonMesh(num_latitudes=32, num_longitudes=48)
    for name, mesh in (("grid", grid), ("poles", replace(grid, num_latitudes=37, poles=True))):
        simulate(replace(FLOW, mesh=mesh), found / f"{name}.zarr")
    convert([found / "grid.zarr"], found / "well.hdf5")
    return found


@pytest.mark.parametrize("source", ["grid.zarr", "poles.zarr", "well.hdf5"])
def test_fields_on_a_grid_become_those_that_a_simulation_writes_at_the_nodes(
    source: str, folder: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: steps.append((done, total))

    written = convert(
        [folder / source],
        tmp_path / "found.zarr",
        harmonics=NODES,
        progress=progress,
    )
    assert written["variables"] == NAMES and written["ensemble_axis"] == "trajectory" and steps == [(0, 1), (1, 1)]
    assert "harmonics beyond degree 10 are left out" in written["notices"]
    found, expected = open_fields(str(tmp_path / "found.zarr")), open_fields(str(folder / "nodes.zarr"))
    assert found.mesh.same_nodes(expected.mesh, 1e-9) and np.array_equal(np.diff(found.times), np.diff(expected.times))
    values, truth = (fields.read(slice(0, 3), NAMES) for fields in (found, expected))
    size = truth.std(axis=(0, 1, 2))
    assert (np.abs(values - truth).max(axis=(0, 1, 2)) < 2e-5 * size + 2e-7 * np.abs(truth).max()).all()


def test_what_lies_beyond_the_truncation_is_left_out(folder: Path, tmp_path: Path) -> None:
    """Of a flow up to degree 10, cut at 6 and then taken to the nodes: the same as its harmonics up to 6 there."""
    low = replace(NODES, truncation=6)
    convert([folder / "grid.zarr"], tmp_path / "low.zarr", harmonics=low)
    convert([folder / "nodes.zarr"], tmp_path / "by-nodes.zarr", harmonics=NODES)
    convert([tmp_path / "low.zarr"], tmp_path / "again.zarr", harmonics=replace(low, beyond="refuse"))
    low_fields = open_fields(str(tmp_path / "low.zarr")).read(slice(0, 3), NAMES)
    again = open_fields(str(tmp_path / "again.zarr")).read(slice(0, 3), NAMES)
    whole = open_fields(str(tmp_path / "by-nodes.zarr")).read(slice(0, 3), NAMES)
    std = whole.std(axis=(0, 1, 2))
    assert (np.abs(again - low_fields).max(axis=(0, 1, 2)) < 1e-4 * std).all()
    assert (np.abs(whole - low_fields).max(axis=(0, 1, 2)) > 1e-2 * std).all()
    with pytest.raises(MeshcastError, match=r"leave .* of h .* set data\.harmonics\.beyond=cut"):
        convert([folder / "grid.zarr"], tmp_path / "none.zarr", harmonics=replace(low, beyond="refuse"))
    assert not (tmp_path / "none.zarr").exists()


def test_a_ground_without_a_time_becomes_static_fields_at_the_nodes(folder: Path, tmp_path: Path) -> None:
    latitude, longitude = np.arange(-87.5, 90.0, 5.0), np.arange(0.0, 360.0, 5.0)
    heights = 1000.0 * (1.0 + np.sin(np.radians(latitude)))[:, None] + 0.0 * longitude
    coordinates = {
        "lat": ("lat", latitude, {"units": "degrees_north"}),
        "lon": ("lon", longitude, {"units": "degrees_east"}),
    }
    path = tmp_path / "ground.nc"
    xr.Dataset({"orog": (("lat", "lon"), heights)}, coordinates).to_netcdf(path)
    ground = tmp_path / "ground.zarr"
    settings = {"rename": {"orog": "orography"}, "units": {"orog": "m"}, "static": ["orography"], "harmonics": NODES}
    assert convert([path], ground, **settings)["units"] == ("m",)
    fields = open_fields(str(folder / "nodes.zarr"), statics=(str(ground),))
    found = fields.read(slice(0, 1), ("orography",))[0, 0, :, 0]
    expected = 1000.0 * (1.0 + np.sin(np.radians(fields.mesh.latitudes)))
    np.testing.assert_allclose(found, expected, atol=1e-2)
    with pytest.raises(MeshcastError, match="has no variable relief, but orog"):
        convert([path], tmp_path / "none.zarr", rename={"relief": "orography"}, static=["orography"], harmonics=NODES)


def test_unknown_variables_and_half_a_wind_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match="has no variable q, but h, u, v"):
        convert([folder / "grid.zarr"], tmp_path / "none.zarr", select=["q"], harmonics=NODES)
    for alone in (["u"], ["v", "h"]):
        with pytest.raises(MeshcastError, match="one component of a wind"):
            convert([folder / "grid.zarr"], tmp_path / "none.zarr", select=alone, harmonics=NODES)
    assert not (tmp_path / "none.zarr").exists()


def test_what_forces_each_trajectory_goes_along_and_a_file_of_the_well_says_that_it_does_not(tmp_path: Path) -> None:
    climate = ClimateSimulationConfig(
        equation=EnergyBalanceConfig(truncation=3),
        mesh=GaussianMesh(num_latitudes=8, num_longitudes=16),
        time_step="365d",
        num_trajectories=2,
        num_frames=3,
    )
    path = simulate(climate, tmp_path / "climate.zarr")
    convert([path], tmp_path / "nodes.zarr", harmonics=HarmonicsConfig(3, IcosphereMesh(level=1)))
    first, second = (open_fields(str(each)).scalars for each in (path, tmp_path / "nodes.zarr"))
    assert first is not None and second is not None and (first.values == second.values).all()
    written = convert([path], tmp_path / "climate.hdf5")
    assert any("effective_radiative_forcing, one number a time" in notice for notice in written["notices"])
