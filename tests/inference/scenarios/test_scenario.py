"""Scenarios: a solver's own run, a closed form's response, members, ranges, files, tables and thresholds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from emulator.baselines.forced_response import ImpulseResponseConfig, PatternScalingConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.pathways.named import read_pathway
from emulator.pathways.pathway import AGENTS, TOTAL, Pathway
from emulator.physics.energy_balance_config import EnergyBalanceConfig
from emulator.physics.energy_balance_solver import EnergyBalanceSolver
from emulator.protocol import Emulator
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from emulator.variability import Variability, VariabilityConfig
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.scenarios.explorer import ExplorerNotes, write_explorer
from inference.scenarios.regions import read_regions, region_means
from inference.scenarios.scenario import run_scenarios, years_of
from inference.scenarios.scenario_file import write_scenario
from inference.scenarios.scenario_pictures import draw_maps
from inference.scenarios.summary import BasePeriod, RegionSeries, left_out_table, passed, region_table, summary

MESH = icosphere(2)
BASE = BasePeriod(1951, 1960)
YEARS = np.arange(1940, 2061)
TASK = Task((Variable("tas", "prognostic", "K"), Variable(TOTAL, "forcing", "W m-2")), TimeStep(12, "month"))


def pathway(name: str = "rising", slope: float = 0.05, members: int = 1, ready: float = 0.0) -> Pathway:
    """CO2 that forces by so much more each year, in each member by a little more."""
    forcing = np.zeros((members, len(YEARS), len(AGENTS)))
    forcing[:, :, 0] = ready + slope * (YEARS - YEARS[0]) * (1 + 0.1 * np.arange(members)[:, None])
    return Pathway(name, YEARS, forcing, "made up", ("as a test",))


@pytest.fixture(scope="module")
def response() -> Emulator:
    """A pattern, fitted on half a kelvin a W m-2, twice as much in the north."""
    rise = 0.05 * (YEARS - YEARS[0])
    pattern = np.where(MESH.latitudes > 0, 2.0, 1.0)
    values = (280 + 0.5 * rise[:, None] * pattern)[:, None, :, None]
    times = to_seconds((YEARS - 1970).astype("datetime64[Y]"))
    fields = ArrayFields(values, ("tas",), ("K",), MESH, TimeStep(12, "month"), times)
    table = pathway().table()
    part = TrainingPart(fields, forcings=forcings_of(TASK, MESH, fields, scalars=table.scalars))
    return PatternScalingConfig().fit(TASK, part)


def test_a_solver_runs_as_it_does_alone() -> None:
    solver = EnergyBalanceSolver(EnergyBalanceConfig(truncation=3, ice=None), TimeStep(12, "month"))
    rising, still = pathway(ready=1.0), pathway("still", 0.0)
    found = run_scenarios(solver, "balance", [rising, still], 1950, 1960)
    assert [one.pathway.name for one in found] == ["rising", "still"]
    assert found[0].years.tolist() == list(range(1950, 1961))
    forcings = forcings_of(solver.task, solver.mesh, scalars=rising.table().scalars)
    state = solver.equilibrium(to_seconds(np.array(["1940-01-01"], "datetime64[s]")), 1.0)
    for _ in range(20):
        state, _ = solver.step(state, forcings.window(state, solver.task, 0))
    assert np.allclose(found[0].values[0, -1], state.now[0, 0].numpy(), atol=2e-5)
    assert np.ptp(found[1].values[0, :, :, 0], axis=0).max() < 1e-4  # in balance, and left there
    assert found[0].forcing[0, -1] == pytest.approx(1.0 + 0.05 * 19.5, abs=1e-3)


def test_a_response_to_forcings_alone_starts_anywhere(response: Emulator) -> None:
    one = run_scenarios(response, "response", [pathway()], 1950, 2050)[0]
    assert years_of(one.times[:1])[0] == 1950 and len(one.times) == 101
    _, yearly = one.yearly(0)
    warming = yearly[0, -1] - yearly[0, 0]
    assert warming[MESH.latitudes > 0].mean() / warming[MESH.latitudes < 0].mean() == pytest.approx(2.0, abs=0.05)


def test_what_goes_on_from_a_state_needs_one(response: Emulator) -> None:
    persistence = PersistenceConfig().build(TASK, MESH)
    with pytest.raises(MeshcastError, match="needs one to start from: --initial"):
        run_scenarios(persistence, "persistence", [pathway()], 1950, 1960)
    start = State(
        torch.full((1, 1, 1, MESH.num_nodes, 1), 288.0), to_seconds(np.array(["1945-07-01"], "datetime64[s]"))
    )
    one = run_scenarios(persistence, "persistence", [pathway()], 1950, 1960, initial=start)[0]
    assert (one.values == 288.0).all() and one.years[0] == 1950
    with pytest.raises(MeshcastError, match="cannot start at 1945-07-01"):
        run_scenarios(persistence, "persistence", [pathway()], 1945, 1960, initial=start)


def test_members_follow_their_own_forcing(response: Emulator) -> None:
    alone = run_scenarios(response, "response", [pathway(members=5)], 1950, 2050)[0]
    found = run_scenarios(response, "response", [pathway(members=5), pathway("one")], 1950, 2050, members=3)
    assert [one.values.shape[0] for one in found] == [3, 1] and alone.values.shape[0] == 1
    rise = found[0].values[:, -1].mean(axis=(1, 2)) - 280
    assert np.allclose(rise / rise[0], [1.0, 1.2, 1.4], atol=5e-3)  # the first, the middle and the last of five
    means = region_means(read_regions(["global", "north", "ar6"]), MESH)
    series = RegionSeries.of(found[0], 0, means, BASE)
    table = region_table([series, RegionSeries.of(found[1], 0, means, BASE)], means, BASE)
    row = table[(table.pathway == "rising") & (table.region == "global") & (table.year == 2050)].iloc[0]
    assert row["anomaly_to_1951-1960_p05"] < row["anomaly_to_1951-1960"] < row["anomaly_to_1951-1960_p95"]
    assert np.isnan(table[table.pathway == "one"]["mean_p05"]).all()
    assert set(left_out_table(means).columns) == {"region", "reason"} and len(left_out_table(means)) == len(
        means.left_out
    )
    told = summary(series, means)
    assert told["years"] == "2031 to 2050" and told["band"][0] < told["change"] < told["band"][1]
    rain = replace(series.scenario, variables=(Variable("tprate", "prognostic", "kg m-2 s-1"),))
    assert not any(key.startswith("passes") for key in summary(replace(series, scenario=rain), means))


def test_leaving_the_range_of_the_training_is_found(response: Emulator, tmp_path: Path) -> None:
    ranges = {TOTAL: (0.0, 2.0)}
    low, high = run_scenarios(response, "response", [pathway("low", 0.01), pathway("high")], 1950, 2050, ranges=ranges)
    assert low.beyond == {} and high.beyond == {TOTAL: 1985}
    write_scenario(tmp_path / "high.nc", high, BASE, {"licence": "CC0-1.0"})
    with xr.open_dataset(tmp_path / "high.nc") as file:
        assert file["beyond_training"].values.tolist() == [0] * 35 + [1] * 66
        assert file.attrs["beyond_training"] == f"{TOTAL} from 1985" and file.attrs["pathway_notes"] == "as a test"


def test_a_file_holds_what_was_found(response: Emulator, tmp_path: Path) -> None:
    members = run_scenarios(response, "response", [pathway(members=2)], 1950, 1960, members=2)[0]
    write_scenario(tmp_path / "members.nc", members, BASE, {})
    with xr.open_dataset(tmp_path / "members.nc") as file:
        assert file["tas"].dims == ("member", "time", "cell")
        assert np.array_equal(file["tas"].values, members.values[..., 0])
        assert file["tas"].attrs["standard_name"] == "air_temperature" and file["tas"].attrs["units"] == "K"
        assert np.allclose(file["lat"].values, MESH.latitudes)
    solver = EnergyBalanceSolver(EnergyBalanceConfig(truncation=3, ice=None), TimeStep(12, "month"))
    one = run_scenarios(solver, "balance", [pathway()], 1950, 1952)[0]
    write_scenario(tmp_path / "grid.nc", one, BASE, {})
    with xr.open_dataset(tmp_path / "grid.nc") as file:
        assert file["tas"].dims == ("time", "lat", "lon")
        assert np.array_equal(file["tas"].values.reshape(3, -1), one.values[0, ..., 0])
        assert file["time"].values[0].astype("datetime64[Y]") == np.datetime64("1950")


def test_a_base_period_without_data_is_refused(response: Emulator) -> None:
    one = run_scenarios(response, "response", [pathway()], 1960, 1990)[0]
    means = region_means(read_regions(["global"]), MESH)
    with pytest.raises(MeshcastError, match="base period 1951-1960 lies outside of the scenario, 1960 to 1990"):
        RegionSeries.of(one, 0, means, BASE)
    for text in ("1900", "1900-1850", "then-now", "1850-1900-1950"):
        with pytest.raises(MeshcastError, match="takes FIRST-LAST, such as 1850-1900"):
            BasePeriod.read(text)


def test_a_threshold_is_passed_when_twenty_years_are_above_it() -> None:
    years = np.arange(2000, 2101)
    steady = 0.05 * (years - 2000)
    assert passed(years, steady, 1.5) == 2031  # the mean of 2021 to 2040 is 1.525
    assert passed(years, steady, 9.0) is None
    warm_year = np.where(years == 2010, 9.0, 0.0)
    assert passed(years, warm_year, 1.5) is None
    assert passed(years[:10], steady[:10] + 9, 1.5) is None


def test_a_pathway_that_ends_too_early_or_begins_too_late_is_refused(response: Emulator) -> None:
    with pytest.raises(MeshcastError, match="cannot begin in 1940: its pathways do in 1940"):
        run_scenarios(response, "response", [pathway()], 1940, 1970)
    with pytest.raises(MeshcastError, match="reaches from 1940 to 2060, but 1940 to 2070"):
        run_scenarios(response, "response", [pathway()], 1950, 2070)


def test_a_part_of_the_globe_is_no_scenario() -> None:
    area = latlon(np.linspace(60, 50, 5), np.linspace(0, 10, 6))
    with pytest.raises(MeshcastError, match=r"of the whole globe, but area covers a limited area"):
        run_scenarios(PatternScalingConfig().build(TASK, area), "area", [pathway()], 1950, 1960)


def test_what_is_no_number_is_refused(response: Emulator) -> None:
    broken = PatternScalingConfig().build(TASK, MESH)
    broken.load_state_dict({**response.state_dict(), "weights": torch.full_like(response.weights, 1e39)})
    with pytest.raises(MeshcastError, match="is no number from"):
        run_scenarios(broken, "broken", [replace(pathway(), name="p")], 1950, 1960)


def test_shipped_pathways_warm_as_they_are_named() -> None:
    solver = EnergyBalanceSolver(EnergyBalanceConfig(truncation=3, ice=None), TimeStep(12, "month"))
    pathways = [read_pathway(name, 2100) for name in ("ssp126", "ssp585")]
    pathways = [one.between(1990, 2100) for one in pathways]
    low, high = run_scenarios(solver, "balance", pathways, 1991, 2100)
    means = [one.values[0, :, :, 0].astype(float) @ solver.mesh.areas for one in (low, high)]
    assert abs(means[0][0] - means[1][0]) < 1e-3
    assert means[1][-1] - means[0][-1] > 1.5


def test_masked_nodes_have_no_value_and_are_in_no_mean(tmp_path: Path) -> None:
    """A sea's temperature has none on land: means, maps and the page leave those nodes out."""
    sea = MESH.longitudes < 270
    rise = 0.5 * 0.05 * (YEARS - YEARS[0])
    values = np.where(sea, 280 + rise[:, None], np.nan)[:, None, :, None]
    times = to_seconds((YEARS - 1970).astype("datetime64[Y]"))
    fields = ArrayFields(values, ("tas",), ("K",), MESH, TimeStep(12, "month"), times)
    part = TrainingPart(fields, forcings=forcings_of(TASK, MESH, fields, scalars=pathway().table().scalars))
    emulator = PatternScalingConfig().fit(TASK, part)
    found = run_scenarios(emulator, "sea", [pathway(), pathway("still", 0.0)], 1950, 2050)
    assert np.array_equal(found[0].there, sea)
    means = region_means(read_regions(["global", "north"]), MESH, found[0].there)
    assert np.allclose(RegionSeries.of(found[0], 0, means, BASE).anomalies[0, -1], 0.025 * (2050 - 1955.5), atol=0.02)
    draw_maps(found, 0, BASE, tmp_path / "maps")
    series = [RegionSeries.of(one, 0, means, BASE) for one in found]
    write_explorer(tmp_path / "explorer.html", found, series, means, BASE, ExplorerNotes([], []))
    for times_lacking in (slice(3, 4), slice(24, 48)):  # once, and throughout a piece that is read at a go
        holed = values.copy()
        holed[times_lacking, 0, np.flatnonzero(sea)[0]] = np.nan
        gaps = ArrayFields(holed, ("tas",), ("K",), MESH, TimeStep(12, "month"), times)
        for config in (PatternScalingConfig(), ImpulseResponseConfig()):
            with pytest.raises(MeshcastError, match="lacks tas at some times where it has it at others"):
                config.fit(TASK, TrainingPart(gaps, forcings=part.forcings))


def test_members_with_weather_spread_about_what_is_expected(response: Emulator) -> None:
    times = to_seconds((YEARS - 1970).astype("datetime64[Y]"))
    noise = np.random.default_rng(0).standard_normal((1, len(times), MESH.num_nodes, 1))
    config = VariabilityConfig()
    chance = Variability.of(config, TASK.predicted, times, noise, np.zeros_like(noise), MESH.areas)
    both = [pathway(), pathway("steep", 0.1, members=3)]
    alone = run_scenarios(response, "response", both, 1950, 2050)
    found = run_scenarios(response, "response", both, 1950, 2050, 40, variability=chance)
    assert [one.values.shape[0] for one in found] == [40, 40] and all(one.drawn for one in found)
    assert np.array_equal(found[0].expected, alone[0].values[0])  # without the chance of any year
    spread = found[0].values - found[0].expected
    assert 1 < spread.std() < 1.1 and np.abs(spread.mean(axis=(0, 1))).max() < 0.1
    assert np.allclose(found[0].values[0] - found[0].expected, found[1].values[0] - alone[1].values[0], atol=1e-3)
    assert np.unique(found[1].forcing[:, -1]).size == 3  # of the forcing's own members, evenly
    again = run_scenarios(response, "response", both, 1950, 2050, 40, variability=chance)
    other = run_scenarios(response, "response", both, 1950, 2050, 40, variability=chance, seed=1)
    assert np.array_equal(again[0].values, found[0].values) and not np.array_equal(other[0].values, found[0].values)
    assert len(run_scenarios(response, "response", both, 1950, 2050, variability=chance)[0].values) == 1
    means = region_means(read_regions(["global"]), MESH)
    series = RegionSeries.of(found[0], 0, means, BASE)
    calm = RegionSeries.of(alone[0], 0, means, BASE)
    assert summary(series, means)["change"] == summary(calm, means)["change"]
    assert "band" in summary(series, means) and "band" not in summary(calm, means)
