"""Files that are written follow the CF conventions: held by the compliance checker that centres use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from emulator.data.forecast_netcdf import ForecastHeading, write_netcdf
from emulator.data.output_choice import OutputChoice, chosen_output, chosen_start
from emulator.foundation.time_step import TimeStep
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.limited_area import BoxWindow, limited_area
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from inference.scores.tables import write_tables
from inference.scores.verification import verify
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth

GLOBE = latlon(np.linspace(82.5, -82.5, 12), np.arange(0.0, 360.0, 15.0))
ISLES = limited_area(GLOBE, BoxWindow(north=60, south=0, west=-40, east=40, boundary_km=2000))[0]
RNG = np.random.default_rng(0)
WEATHER, WATER = {"2t": "K", "z_500": "m**2 s**-2", "lsm": "(0 - 1)", "tas_anomaly": "C"}, {"h": "m", "u": "1"}
KINDS = {
    "grid of the sphere": (GLOBE, TimeStep(6 * 3600), WEATHER, 1),
    "ensemble": (GLOBE, TimeStep(3600), WEATHER, 3),
    "icosphere": (icosphere(1), TimeStep(90), WEATHER, 1),
    "points": (points(RNG.uniform(40, 60, 12), RNG.uniform(-10, 10, 12)), TimeStep(60), WEATHER, 1),
    "limited area": (ISLES, TimeStep(3600), WEATHER, 1),
    "ring in its own time": (ring(16, 10.0), TimeStep(1, "second", 0.1, ""), WATER, 2),
    "months": (GLOBE, TimeStep(1, "month"), {"sst": "degC"}, 1),
    "years": (GLOBE, TimeStep(12, "month"), {"tas": "K"}, 1),
}
HIGH = 3  # what the checker calls an error


def heading(mesh: Mesh, time_step: TimeStep, units: dict[str, str], members: int) -> ForecastHeading:
    init = np.array([0, 31 * 86400]) if time_step.true_length is None else np.array([0, 0])
    return ForecastHeading(
        name="gnn",
        mesh=mesh,
        time_step=time_step,
        variables=tuple(units),
        units=tuple(units.values()),
        init_time=init,
        trajectory=np.array([0, 1]),
        num_members=members,
        attributes={"licence": "CC-BY-4.0", "seed": "0"},
    )


def fields(of: ForecastHeading) -> list[np.ndarray]:
    shape = (len(of.init_time), of.num_members, of.mesh.num_nodes, len(of.variables))
    return [RNG.normal(280, 9, shape).astype(np.float32) for _ in range(4)]


def written(path: Path, *kind: Any) -> Path:
    write_netcdf(path, heading(*kind), fields(heading(*kind)))
    return path


@pytest.mark.slow
def test_sums_and_initial_values_have_no_fault(tmp_path: Path) -> None:
    whole = heading(GLOBE, TimeStep(3600), {"tp": "m", "2t": "K"}, 2)
    chosen, leads = chosen_output(
        OutputChoice(2, area=(60, -30, 0, 30), accumulate=("tp",)).carried_by(whole), fields(whole)
    )
    start = chosen_start(OutputChoice(2, area=(60, -30, 0, 30)).carried_by(whole), fields(whole)[0])
    write_netcdf(tmp_path / "f.nc", chosen, leads, start)
    assert not faults(tmp_path / "f.nc")


def faults(path: Path) -> list[str]:
    """Return what the compliance checker calls an error, not what it recommends."""
    runner = pytest.importorskip("compliance_checker.runner")
    suite = runner.CheckSuite()
    suite.load_all_available_checkers()
    results, errors = suite.run_all(suite.load_dataset(str(path)), ["cf:1.11"], [])["cf:1.11"]
    # It subtracts the labels of an axis of names, such as the emulators of a verification, from each other.
    assert set(errors) <= {"check_coordinate_variables_strict_monotonicity"}
    failed = [result for result in results if result.weight == HIGH and not _whole(result.value)]
    return [message for result in failed for message in result.msgs]


def _whole(value: bool | tuple[int, int]) -> bool:
    return value[0] == value[1] if isinstance(value, tuple) else value


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_in_netcdf_has_no_fault(tmp_path: Path, kind: str) -> None:
    assert not faults(written(tmp_path / "f.nc", *KINDS[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ring", "isles"])
def test_the_scores_of_a_verification_have_no_fault(tmp_path: Path, place: str) -> None:
    truth = ring_truth(num_nodes=16, times=9) if place == "ring" else isles_truth(days=1, rows=5, columns=6)
    made = (
        ring_forecast(truth, leads=6, members=2) if place == "ring" else isles_forecast(truth, leads=3, every=6, seed=1)
    )
    write_tables(verify([made], truth), tmp_path)
    assert not faults(tmp_path / "scores.nc")


def test_units_and_names_are_those_of_the_conventions(tmp_path: Path) -> None:
    with netCDF4.Dataset(written(tmp_path / "f.nc", *KINDS["ensemble"])) as file:
        units = {name: file[name].units for name in ("member", "lsm", "tas_anomaly", "2t", "lead_time")}
        assert units == {"member": "1", "lsm": "1", "tas_anomaly": "degC", "2t": "K", "lead_time": "hours"}
        assert file["2t"].standard_name == "air_temperature" and file["lead_time"].standard_name == "forecast_period"
        assert file["2t"].filters()["zlib"] and file["2t"].filters()["complevel"] == 1
    with netCDF4.Dataset(written(tmp_path / "ring.nc", *KINDS["ring in its own time"])) as file:
        assert "standard_name" not in file["u"].ncattrs(), "a wave without a unit is no wind"
        assert "standard_name" not in file["lead_time"].ncattrs(), "an equation's own time has no seconds"
