"""`meshcast scenario` as a user has it: from a table of CO2 to fields, regions and pictures, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from emulator.pathways.named import read_pathway
from tests.meshcast.command_line import done, meshcast, refused

EXPERIMENT = """
name: response
data:
  train: {source: {dataset: runs.zarr, end: 2015}}
  validation: {source: {dataset: runs.zarr, start: 2016}}
  forcing_tables: ["pathway:ssp245"]
task:
  prognostic: [tas]
  forcing: [fast, slow]
  memory: {fast: [effective_radiative_forcing, 4], slow: [effective_radiative_forcing, 200]}
emulator: {kind: pattern_scaling}
"""
LATITUDES, LONGITUDES = np.arange(-81.0, 90.0, 18.0), np.arange(0.0, 360.0, 18.0)


@pytest.fixture
def climate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of a climate that follows the forcing of ssp245, in NetCDF, and a response fitted to them."""
    monkeypatch.chdir(tmp_path)
    forcing = read_pathway("ssp245").total[0, 1900 - 1750 : 2021 - 1750]
    for run in (1, 2):
        noise = 0.05 * np.random.default_rng(run).normal(size=(121, 10, 20))
        values = 288 + 0.6 * forcing[:, None, None] * (1 + (LATITUDES > 0))[:, None] + noise
        times = np.arange("1900", "2021", dtype="datetime64[Y]").astype("datetime64[ns]") + np.timedelta64(182, "D")
        dims = {"time": times, "lat": LATITUDES, "lon": LONGITUDES}
        tas = xr.DataArray(values.astype(np.float32), dims, tuple(dims), attrs={"units": "K"})
        tas["time"].attrs = {}
        xr.Dataset({"tas": tas}, attrs={"variant_label": f"r{run}"}).to_netcdf(f"r{run}.nc")
    done("dataset", "r1.nc", "r2.nc", "--trajectories", "variant_label", "--rename", "tas=tas", "--output", "runs.zarr")
    Path("response.yaml").write_text(EXPERIMENT)
    done("train", "response.yaml")
    return tmp_path


def test_from_a_table_of_co2_to_fields_regions_and_pictures(climate: Path) -> None:
    years = np.arange(2000, 2051)
    pd.DataFrame({"year": years, "CO2 [ppm]": np.linspace(370, 520, 51)}).to_csv("mine.csv", index=False)
    asked = (
        "--pathways",
        "ssp126, mine.csv, 0.5*ssp126+0.5*ssp585",
        "--years",
        "1900-2050",
        "--base-period",
        "1900-1950",
    )
    outcome = done("scenario", "runs/response", *asked, "--output", "out", "--json")
    told = json.loads(outcome.out)
    assert [one["pathway"] for one in told["pathways"]] == ["ssp126", "mine", "0.5*ssp126+0.5*ssp585"]
    assert all(one["beyond training"] for one in told["pathways"])
    assert "mine: 1750 to 1999 as in ssp245" in outcome.err and "BEYOND TRAINING: in 20" in outcome.err
    names = {path.name for path in Path("out").iterdir()}
    assert {"ssp126.nc", "mine.nc", "regions.csv", "regions_left_out.csv", "global_mean.png", "maps.png"} <= names
    assert "explorer.html" in names and len(names) == 8
    with xr.open_dataset("out/ssp126.nc") as file:
        assert file["tas"].dims == ("time", "lat", "lon") and file.sizes["time"] == 151
        field = file["tas"].sel(time="2040").values[0]
    table = pd.read_csv("out/regions.csv")
    row = table[(table.pathway == "ssp126") & (table.region == "global") & (table.year == 2040)].iloc[0]
    weights = np.cos(np.radians(LATITUDES))[:, None] * np.ones((1, 20))
    assert row["mean"] == pytest.approx((field[::1] * weights).sum() / weights.sum(), abs=0.02)
    assert row["cells"] == 200
    assert meshcast("scenario", "runs/response", *asked, "--output", "again", "--strict", "--no-plots").code == 4
    assert Path("again/ssp126.nc").exists() and not Path("again/maps.png").exists()
    within = ("--pathways", "ssp245", "--years", "1901-2015", "--base-period", "1901-1950", "--strict")
    assert meshcast("scenario", "runs/response", *within, "--output", "within", "--no-plots").code == 0


def test_what_a_scenario_cannot_do_is_refused(climate: Path) -> None:
    refused("scenario", "--output", "out", says=("an emulator or --solver", "one of both"))
    refused("scenario", "runs/response", "--solver", "simulate-climate", "--output", "out", says=("one of both",))
    refused("scenario", "--solver", "simulate-advection", "--output", "out", says=("simulates no climate",))
    run = ("scenario", "runs/response", "--output", "out")
    refused(*run, "--pathways", "ssp12", says=("did you mean ssp126",))
    refused(*run, "--pathways", "ssp126, ssp126", says=("each once",))
    refused(*run, "--regions", "atlantis", says=("no region 'atlantis'",))
    refused(*run, "--base-period", "1700-1750", says=("base period 1700-1750 lies outside",))
    refused(*run, "--base-period", "soon", says=("FIRST-LAST",))
    refused(*run, "--years", "1850-2600", says=("1750 to 2500",))
    Path("gap.csv").write_text("year,CO2 [ppm]\n2000,370\n2002,372\n")
    refused(*run, "--pathways", "gap.csv", says=("has a gap: 2000 is followed by 2002",))
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(f"{folder}/mine.csv").write_text(
            "year,co2 [W m-2]\n" + "".join(f"{year},2\n" for year in range(2000, 2101))
        )
    refused(*run, "--pathways", "a/mine.csv, b/mine.csv", says=("have the same name",))
    Path("out").mkdir()
    Path("out/regions.csv").write_text("precious")
    refused(*run, "--overwrite", says=("nothing that Meshcast wrote",))
    done(*run[:-1], "ours", "--no-plots", "--no-explorer")
    Path("ours/thesis.docx").write_text("precious")
    refused(*run[:-1], "ours", "--overwrite", says=("nothing that Meshcast wrote",))


def test_an_emulator_goes_on_from_one_trajectory(climate: Path) -> None:
    text = EXPERIMENT.replace("name: response", "name: still").replace(
        "{kind: pattern_scaling}", "{kind: damped_anomaly}"
    )
    Path("still.yaml").write_text(text)
    done("train", "still.yaml")
    run = ("scenario", "runs/still", "--pathways", "ssp126", "--years", "1901-1930", "--base-period", "1901-1910")
    refused(*run, "--output", "out", says=("needs one to start from: --initial",))
    refused(*run, "--output", "out", "--initial", "runs.zarr", says=("holds 2 trajectories", "--trajectory 0 to 1"))
    refused(*run, "--output", "out", "--initial", "runs.zarr", "--trajectory", "2", says=("--trajectory 0 to 1",))
    fields = []
    for number in (0, 1):
        done(*run, "--output", f"out{number}", "--initial", "runs.zarr", "--trajectory", str(number), "--no-plots")
        with xr.open_dataset(f"out{number}/ssp126.nc") as file:
            fields.append(file["tas"].values)
    assert not np.array_equal(fields[0], fields[1]) and fields[0].shape == (30, 10, 20)


def test_members_have_weather_of_their_own_and_the_page_says_how_they_were_tested(climate: Path) -> None:
    text = EXPERIMENT.replace(
        "start: 2016}}", "start: 2016, end: 2017}}\n  test: {source: {dataset: runs.zarr, start: 2017}}"
    )
    Path("weather.yaml").write_text(text.replace("end: 2015", "end: 2010") + "variability: {}\n")
    done("train", "weather.yaml", "name=weather")
    asked = ("--pathways", "ssp126, ssp585", "--years", "1900-2050", "--base-period", "1900-1950", "--members", "20")
    outcome = done("scenario", "runs/weather", *asked, "--output", "out", "--json")
    assert "one member" not in outcome.err
    with xr.open_dataset("out/ssp126.nc") as file:
        assert file["tas"].dims == ("member", "time", "lat", "lon") and file.sizes["member"] == 20
        spread = file["tas"] - file["tas_expected"]
        assert 0.05 < float(spread.std()) < 0.3  # the noise, and what a pattern leaves of volcanoes
        assert file["tas_expected"].attrs["long_name"] == "tas, expected"
    table = pd.read_csv("out/regions.csv")
    row = table[(table.region == "global") & (table.year == 2040)].iloc[0]
    assert row["mean_p05"] < row["mean"] < row["mean_p95"]
    page = Path("out/explorer.html").read_text()
    assert "Bands are the chance of single years" in page
    assert "Tested on the years 2018 to 2020 under ssp245, which it had not learned from" in page
    assert "too few to tell" not in page and "narrower" not in outcome.err
    few = done("scenario", "runs/weather", *asked[:-1], "5", "--output", "few", "--no-plots")
    assert "bands of 5 members are narrower than 5 to 95 %" in few.err
    assert "They are of 5 members, too few to tell 5 to 95 %" in Path("few/explorer.html").read_text()
    early = ("train", "weather.yaml", "name=early", "data.test.forcing_tables=[pathway:ssp12]")
    refused(*early, says=("did you mean",), leaves="runs/early")
    assert not Path("runs/early/emulator.safetensors").exists()
    assert done("scenario", "runs/response", *asked, "--output", "calm").err.count("has one member") == 2


COMPARISON = """
name: rivals
data:
  train: {source: {dataset: runs.zarr, end: 1990}}
  validation: {source: {dataset: runs.zarr, start: 1990, end: 1995}}
  test: {source: {dataset: runs.zarr, start: 1995}}
  forcing_tables: ["pathway:ssp245"]
task:
  prognostic: [tas]
  forcing: [effective_radiative_forcing]
rows:
  response: {emulator: {kind: impulse_response}}
  pattern: {emulator: {kind: pattern_scaling}}
  climatology: {emulator: {kind: climatology, period: none}}
forecast: {steps: 25}
climate: {base_period: 1901-1950, late: 10}
"""


def test_a_comparison_scores_climates_and_says_who_was_told_the_truth(climate: Path) -> None:
    Path("rivals.yaml").write_text(COMPARISON)
    done("compare", "rivals.yaml")
    table = pd.read_csv("runs/rivals/climate.csv").pivot(index="label", columns="score", values="median")
    told = "pattern scaling told the true global mean (no forecast)"
    assert set(table.index) == {"response", "pattern", "climatology", "persistence", told}
    assert table.loc[told, "nrmse_global"] < 1e-6 < table.loc["pattern", "nrmse_global"]
    assert table.loc["response", "late_rmse"] < 0.2 < table.loc["climatology", "late_rmse"]
    page = Path("runs/rivals/report.html").read_text()
    assert "<h2>Climate</h2>" in page and "NRMSE, total" in page and told in page
    assert "pattern wins over response, of tas." in page or "response is best by the total NRMSE of tas" in page
    plain = json.loads(Path("runs/rivals/comparison.json").read_text())
    assert {row["label"] for row in plain["climate"]} == set(table.index)
    refused("compare", "rivals.yaml", "climate.base_period=1801-1850", "name=other", says=("the training data cover",))
    refused("compare", "rivals.yaml", "climate.base_period=1850-", "name=other", says=("FIRST-LAST",))


def test_the_test_part_may_follow_another_pathway(climate: Path) -> None:
    """Nothing else is changed, so that a test under no forcing at all must err by as much as there is."""
    Path("rivals.yaml").write_text(COMPARISON)
    years = np.arange(1750, 2051)
    pd.DataFrame({"year": years, "total [W m-2]": 0.0}).to_csv("none.csv", index=False)
    done("compare", "rivals.yaml", "name=other", "data.test.forcing_tables=[pathway:none.csv]")
    done("compare", "rivals.yaml")
    bias = {}
    for name in ("rivals", "other"):
        table = pd.read_csv(f"runs/{name}/climate.csv").pivot(index="label", columns="score", values="median")
        bias[name] = table.loc["response", "late_bias"]
    assert abs(bias["rivals"]) < 0.2 and bias["other"] < -1


def test_a_solver_tells_what_its_planet_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("planet.yaml").write_text(
        "{kind: climate, equation: {truncation: 4}, pathways: {kind: random}, time_step: 1 year, "
        "mesh: {kind: icosphere, level: 1}, num_trajectories: 1, num_frames: 2}\n"
    )
    asked = ("--pathways", "ssp585", "--years", "1900-1960", "--base-period", "1900-1920", "--no-plots")
    outcome = done("scenario", "--solver", "planet.yaml", *asked, "--output", "out")
    assert "northern sea without lasting ice never" in outcome.out
    page = Path("out/explorer.html").read_text()
    assert "It is an energy balance" in page and "without land or sea" in page
