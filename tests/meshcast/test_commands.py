"""What a user does with the commands, and what machines read of them."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from emulator.data.files import read_files
from emulator.data.formats import FORMATS
from emulator.data.sources import open_fields
from graphs.storage import load as load_graphs
from inference.scores.metrics import METRICS
from tests.meshcast.command_line import ROOT, done, in_a_process, interrupting, meshcast
from tests.meshcast.conftest import comparison, weather, weather_forecast

COMMANDS = ("demo", "simulate", "dataset", "graph", "train", "tune", "forecast", "verify", "plot", "compare",
            "reproduce", "export", "inspect", "configs list", "configs copy")  # fmt: skip
RING = ("forecast", "runs/ring", "--initial", "ring.zarr", "--trajectories", "6:8", "--lead-time", "0.2", "--output")


def days(moments: Any) -> list[str]:
    return [str(moment)[:10] for moment in np.asarray(moments).ravel()]


# What the commands say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example_that_it_takes(command):
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", done(*command.split(), "--help").out).split())
    example = re.search(rf"Example: meshcast {command}( |$)[^│]*?(?=Arguments|Options|$)", words)
    assert example, words
    options = re.findall(r"(?<= )--?[a-z][a-z-]*", example[0])
    assert all(option in words.replace(example[0], "") for option in options), options


def test_the_first_page_lists_every_command_and_exit_code():
    listed = done("--help").out
    assert all(command.split()[0] in listed for command in COMMANDS)
    codes = re.search(r"Exit codes:(.*)signal N", " ".join(listed.split()))
    assert codes and all(f" {code} " in codes[1] for code in ("0", "1", "2", "3", "128 + N"))
    assert "Exit code 0 where every case reached" in " ".join(done("forecast", "--help").out.split())
    assert meshcast("predict").code == 2 and meshcast().code == 2


def test_shipped_configurations_are_listed_and_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "ring-advection" in done("configs", "list").out
    done("configs", "copy", "ring-advection")
    done("configs", "copy", "ring-advection", "folder/mine.yaml")
    assert Path("ring-advection.yaml").read_text() == Path("folder/mine.yaml").read_text()
    Path("co2.csv").write_text("time,co2\n")
    refused = meshcast("configs", "copy", "co2.csv")  # a file of the user's is none that is shipped
    assert (
        refused.code == 2 and "There is no configuration co2.csv" in refused.err and not Path("co2.csv.yaml").exists()
    )


def test_every_result_is_also_for_machines(ring_world):
    """--json prints one JSON document on standard output, whatever else is said goes to standard error."""
    assert done("simulate", "simulation.yaml", "--overwrite", "--json").json["trajectories"] == 8
    assert done("inspect", "ring.zarr", "--json").json["time step"] == "0.05"
    graph = done("graph", "ring.yaml", "--output", "graph.safetensors", "--picture", "graph.png", "--json")
    assert graph.json["graphs"]["processor"]["num_edges"] == 192 and "graph.png" in graph.err
    assert Path("graph.png").read_bytes()[1:4] == b"PNG"
    dry = done("train", "ring.yaml", "name=dry", "--dry-run", "--json").json
    assert dry["parameters"] > 0 and dry["seconds per update"] > 0 and dry["peak memory [MB]"] > 0
    assert not Path("runs/dry").exists()
    trained = done("train", "ring.yaml", "name=other", "training.seed=1", "--json").json
    assert trained["run"] == "runs/other" and trained["validation_score"] > 0
    assert done("train", "ring.yaml", "name=other", "training.seed=1", "resume=auto", "--json").json == trained
    inspected = done("inspect", "runs/other", "--json").json
    assert inspected["updates"] == trained["update"] and trained["kwh"] > 0
    assert inspected["methods"] == Path("runs/other/methods.md").read_text(encoding="utf-8").strip()
    assert done("inspect", "runs/other", "--requirements", "--json").json["variables"] == ["u [1]"]
    assert done("inspect", "runs/other", "--lineage", "--json").json["trained on"] == "ring.zarr"
    tuned = done("tune", "ring.yaml", "--try", "training.noise=[0, 0.1]", "--updates", "4", "--json")
    assert tuned.json["chosen"]["training.noise"] in (0, 0.1) and len(tuned.json["trials"]) == 2
    assert f"meshcast train {tuned.json['best']}" in tuned.err and "slices.png" in tuned.err
    noise = tuned.json["chosen"]["training.noise"]
    assert done("train", tuned.json["best"], "name=best", "--dry-run", "--json").json["run folder"] == "runs/best"
    assert f"noise: {noise}" in Path(tuned.json["best"]).read_text(encoding="utf-8")
    made = done(*RING, "new.nc", "--init-times", "0, 0.1", "--json").json
    assert made == {"output": "new.nc", "cases": 4, "steps": 4, "stops": []}
    assert done("inspect", "new.nc", "--json").json["cases"] == "4, from 0 to 0.1"
    assert done("inspect", "new.nc", "--lineage", "--json").json["licence"] == "CC0-1.0"
    pictures = done("plot", "new.nc", "--output", "pictures", "--json").json
    assert [Path(picture).suffix for picture in pictures] == [".png", ".png", ".gif"]
    scores = done("verify", "new.nc", "--truth", "ring.zarr", "--json").json
    assert set(scores["emulators"]) >= {"ring", "persistence", "climatology", "ridge"}


def test_standard_output_of_a_training_process_is_json_alone(ring_world):
    ended = in_a_process("train", "ring.yaml", "name=other", "--json")
    ended.check_returncode()
    assert json.loads(ended.stdout)["run"] == "runs/other"
    assert "updates" in ended.stderr


def test_people_get_tables_and_pages(ring_world):
    done(*RING, "new.nc", "--init-times", "0")
    plugin = str(ROOT / "tests/plugins/largest_error.py")
    asked = ("--output", "report", "--plugin", plugin, "--wet", "u=0.1")
    verified = done("verify", "new.nc", "--truth", "ring.zarr", *asked)
    for name in ("largest_error", "vector_rmse"):
        METRICS.pop(name)  # which other tests do not know
    page = (Path("report") / "report.html").read_text()
    assert "Largest error of u" in page and "Critical success index of u" in page
    assert "RMSE of u, 2 cases" in verified.out and "persistence" in verified.out
    for name in ("report.html", "scores.nc", "scores.json", "table.parquet", "table.csv", "rmse.png"):
        assert (Path("report") / name).stat().st_size > 0, name
    assert "ring of 24 nodes" in done("inspect", "runs/ring").out
    assert "1 consecutive state" in done("inspect", "runs/ring", "--requirements").out
    assert "192 edges" in done("graph", "ring.yaml").out


def test_graphs_are_drawn_for_data_in_a_format_of_a_plug_in(ring_world):
    np.savetxt("wave.txt", np.zeros((4, 30)))
    plugin = str(ROOT / "tests/plugins/text_format.py")
    assert "240 edges" in done("graph", "ring.yaml", "data.train.source=wave.txt", "--plugin", plugin).out
    FORMATS.pop("text")  # which other tests do not know


def test_a_comparison_ranks_and_is_taken_up_again(ring_world):
    small = "{kind: gnn, processor: {num_layers: 1, latent_size: 8, hidden_size: 8}}"
    rows = (
        f"  network: {{emulator: {small}}}\n"
        "  line: {emulator: {kind: ridge, radii: [1, 2], penalties: [1.0e-8], rollout_steps: 4}}\n"
        "  old: {checkpoint: runs/ring}\n"
    )
    Path("compare.yaml").write_text(comparison("ranking", rows))
    found = done("compare", "compare.yaml", "--json")
    labels = [row["label"] for row in found.json["rows"]]
    assert labels[0] == "line" and set(labels) == {"network", "line", "old", "persistence"}
    assert Path("runs/ranking/report.html").exists()
    again = done("compare", "compare.yaml")
    assert "line" in again.out and "ranking: rmse over 4 steps" in again.out


# Forecasts ------------------------------------------------------------------------------------------------------------


def test_forecasts_start_from_datasets_arrays_netcdf_and_grib_alike(weather_world, _ring):
    done(*weather_forecast("5h"), "--output", "nc.nc")
    done(*weather_forecast("5h", "weather.zarr"), "--output", "zarr.nc")
    with xr.open_dataset("nc.nc") as first, xr.open_dataset("zarr.nc") as second:
        assert np.array_equal(first["2t"], second["2t"]) and np.array_equal(first["msl"], second["msl"])
    done(*weather_forecast("5h"), "--output", "start.grib", "--init-times", "2019-03-02T12")
    from_grib = done(*weather_forecast("2h", "start.grib"), "--output", "grib.nc", "--forecasts-as-analyses")
    assert "1 case, 2 steps of 1h" in from_grib.err
    with xr.open_dataset("grib.nc") as file:
        assert str(file.init_time.values[0]) == "2019-03-02T17:00:00.000000000"
    frames = open_fields(str(_ring / "ring.zarr")).read(slice(None), ["u"])
    np.save("ring.npy", frames.transpose(1, 0, 3, 2))
    done("forecast", _ring / "runs/ring", "--initial", "ring.npy", "--init-times", "2", "--output", "npy.nc",
         "--lead-time", "2 steps", "--trajectories", "0:3")  # fmt: skip
    with xr.open_dataset("npy.nc") as file:
        assert file.u.shape == (3, 1, 2, 24) and file.trajectory.values.tolist() == [0, 1, 2]


def test_many_initial_times_and_a_perturbed_ensemble(weather_world):
    made = done(*weather_forecast("4h"), "--output", "new.nc", "--init-times", "2019-03-01T06/2019-03-02T06/12h",
                "--members", "3", "--perturb", "0.05", "--seed", "4")  # fmt: skip
    assert "3 cases, 4 steps of 1h" in made.err
    with xr.open_dataset("new.nc") as file:
        assert dict(file["2t"].sizes) == {"case": 3, "member": 3, "lead_time": 4, "latitude": 4, "longitude": 6}
        assert file["2t"].std("member").min() > 0
        assert days(file.valid_time[0]) == ["2019-03-01"] * 4
        assert file.attrs["licence"] == "CC-BY-4.0" and file.attrs["meshcast_seed"] == "4"
        valid = file.init_time.values[:, None] + np.timedelta64(1, "h") * np.arange(1, 5)
        assert np.array_equal(file.valid_time, valid)


def test_an_ensemble_in_a_file_stays_an_ensemble(weather_world):
    members = [weather(6).assign(t2m=weather(6).t2m + number) for number in range(3)]
    members = [member.expand_dims({"number": [number]}, axis=1) for number, member in enumerate(members)]
    xr.concat(members, "number").to_netcdf("ensemble.nc")
    done("dataset", "ensemble.nc", "--output", "ensemble.zarr")
    assert done("inspect", "ensemble.zarr", "--json").json["ensemble axis"] == "3 member(s)"
    for source in ("ensemble.nc", "ensemble.zarr"):
        done(*weather_forecast("2h", source), "--output", "new.nc", "--overwrite")
        with xr.open_dataset("new.nc") as file:
            warmth = file["2t"].mean(["case", "lead_time", "latitude", "longitude"]).values
            assert np.allclose(np.diff(warmth), 1.0, atol=0.2)
    refused = meshcast(
        *weather_forecast("2h", "ensemble.nc"), "--output", "more.nc", "--members", "4", "--perturb", "0.1"
    )
    assert refused.code == 2 and "hold 3 members already" in refused.err


def test_forcings_come_from_the_table_a_user_names(weather_world):
    Path("scenario.csv").write_text("date,co2\n2019-01-01,402\n2020-01-01,412\n")
    needs = done("inspect", "runs/weather", "--requirements").out
    assert "cos_local_time (computed)" in needs and "co2 (give with --forcing)" in needs
    done(*weather_forecast("3h"), "--output", "other.nc")
    command = ("forecast", "runs/weather", "--initial", "weather.nc", "--lead-time", "3h", "--output")
    refused = meshcast(*command, "new.nc")  # the table of the training is there, and named in the checkpoint alone
    assert refused.code == 2 and "No source for the forcing co2" in refused.err
    done(*command, "table.nc", "--forcing", "scenario.csv")
    table, other = (xr.load_dataset(f"{name}.nc")["2t"] for name in ("table", "other"))
    assert not np.array_equal(table, other)


def test_a_grid_sends_to_a_mesh_of_its_own(weather_world):
    text = Path("weather.yaml").read_text().replace("name: weather", "name: meshed")
    graph = "  graph: {processor: {kind: multi_mesh}, mesh: {kind: icosphere, level: 6}}\n"
    Path("meshed.yaml").write_text(text.replace("  processor:", graph + "  processor:"))
    done("train", "meshed.yaml", "task.static=[coriolis]")
    said = done("inspect", "runs/meshed", "--json").json
    assert said["mesh"] == "limited area of 4 x 6 nodes"
    about = "\n".join(said["graphs"])
    assert "hidden mesh: limited area of" in about
    assert all(f"{name}: " in about for name in ("encoder", "processor", "decoder"))
    done(*weather_forecast("2h", run="runs/meshed"), "--output", "meshed.nc")
    with xr.open_dataset("meshed.nc") as file:
        assert file["2t"].notnull().all()


def test_grib_is_read_back_by_eccodes_with_its_dates_steps_and_values(weather_world):
    import eccodes

    options = ("--init-times", "2019-03-02T18, 2019-03-02T23", "--members", "2", "--perturb", "0.1", "--output")
    done(*weather_forecast("4h"), *options, "new.grib")
    done(*weather_forecast("4h"), *options, "new.nc")
    with xr.open_dataset("new.nc") as file:
        expected = {name: file[name].values for name in ("2t", "msl")}
    seen = set()
    with open("new.grib", "rb") as grib:
        while (message := eccodes.codes_grib_new_from_file(grib)) is not None:
            keys = ("shortName", "dataDate", "dataTime", "step", "perturbationNumber", "validityDate", "validityTime")
            name, date, time, step, member, valid_date, valid_time = (eccodes.codes_get(message, key) for key in keys)
            case = {1800: 0, 2300: 1}[time]
            assert date == 20190302 and valid_date == 20190302 + (time // 100 + step >= 24)
            assert valid_time == (time + 100 * step) % 2400
            values = eccodes.codes_get_values(message).reshape(4, 6)
            packing = 2.0**-20 * np.ptp(values)
            assert np.allclose(values, expected[name][case, member, step - 1], rtol=1e-7, atol=packing)
            assert eccodes.codes_get(message, "latitudeOfFirstGridPointInDegrees") == 56.0
            seen.add((name, case, member, step))
            eccodes.codes_release(message)
    assert len(seen) == 2 * 2 * 2 * 4
    assert done("inspect", "new.grib", "--json").json["members"] == 2


def test_the_guard_stops_one_case_and_keeps_the_others(weather_world, monkeypatch):
    file = weather()
    hot = file.time == np.datetime64("2019-03-02T12")
    mean = file.mean()
    file = xr.where(hot, mean + 3 * (file - mean) + 40 * file.map(np.sign), file, keep_attrs=True)
    file = file.transpose("time", "latitude", "longitude")
    file.to_netcdf("hot.nc")
    command = (*weather_forecast("6h", "hot.nc"), "--init-times", "2019-03-02T06, 2019-03-02T12", "--output")
    stopped = meshcast(*command, "new.nc", "--json")
    assert stopped.code == 3
    (stop,) = stopped.json["stops"]
    assert stop in stopped.err
    assert re.match(
        r"case 1 \(from 2019-03-02T12:00:00\), member 0 stopped at step 1: (2t|msl) is .*, outside .* at .* N, .* E",
        stop,
    )
    with xr.open_dataset("new.nc") as forecast:
        assert forecast["2t"][0].notnull().all() and forecast["2t"][1].isnull().all()
        assert json.loads(forecast.attrs["meshcast_stops"]) == [stop]
    scores = done("verify", "new.nc", "--truth", "weather.nc").out
    assert "1 stopped" in scores and "nan" not in scores
    done("plot", "new.nc", "--output", "pictures")
    assert meshcast(*command, "free.nc", "--no-guard").code == 0
    with xr.open_dataset("free.nc") as forecast:
        assert forecast["2t"].notnull().all()

    from emulator.data.forecast_file import ForecastWriter

    with monkeypatch.context() as patch:  # what stopped it is known after an interruption too
        patch.setattr(ForecastWriter, "append", interrupting(ForecastWriter.append, 4))
        assert meshcast(*command, "resumed.nc").code == 130
    resumed = meshcast(*command, "resumed.nc", "--resume", "--json")
    assert resumed.code == 3 and resumed.json["stops"] == [stop]


def test_a_forecast_goes_on_beyond_any_truth_and_verification_says_what_lacks_it(weather_world):
    made = meshcast(*weather_forecast("3d"), "--output", "long.nc", "--init-times", "2019-03-03T12", "--no-guard")
    assert made.code == 0, made.err
    verified = done("verify", "long.nc", "--truth", "weather.nc")
    assert "no truth at steps 12 to 72 of 2019-03-03T12:00:00" in verified.err
    assert "nan" not in verified.out
    scores = done("verify", "long.nc", "--truth", "weather.zarr", "--json").json
    rmse = scores["emulators"]["weather"]["metrics"]["rmse"]["2t"]
    assert scores["left_out"] and rmse["value"][10] is not None and rmse["value"][11] is None


def test_pictures_come_with_a_forecast(weather_world):
    done(*weather_forecast("3h"), "--output", "new.nc", "--plots")
    assert sorted(path.name for path in Path("new").iterdir()) == [
        "animation.gif", "maps_2t.png", "maps_msl.png", "series.png"
    ]  # fmt: skip


# Calendars ------------------------------------------------------------------------------------------------------------

MONTHLY = """\
name: monthly
data: {train: {source: monthly.zarr}, validation: {source: monthly.zarr}}
task: {prognostic: [2t]}
emulator: {kind: climatology, period: month}
"""


def monthly(calendar: str = "standard", years: int = 6) -> xr.Dataset:
    """Monthly means from January 2000 with their season, dated the first of each month."""
    times = xr.date_range("2000-01-01", periods=12 * years, freq="MS", calendar=calendar, use_cftime=True)
    season = 10 * np.cos(2 * np.pi * np.arange(12 * years) / 12)
    values = np.broadcast_to((280 - season)[:, None, None], (12 * years, 4, 6)).astype(np.float32)
    where = {"time": times, "latitude": np.linspace(56, 50, 4), "longitude": np.linspace(-8, 2, 6)}
    noise = np.random.default_rng(0).normal(0, 0.5, values.shape)
    return xr.Dataset({"t2m": (("time", "latitude", "longitude"), values + noise.astype("f4"), {"units": "K"})}, where)


def test_six_monthly_steps_carry_the_first_of_each_month(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monthly().to_netcdf("monthly.nc")
    Path("monthly.yaml").write_text(MONTHLY)
    written = done("dataset", "monthly.nc", "--output", "monthly.zarr", "--json")
    assert written.json["time_step"] == "1 month" and written.json["last"] == "2005-12-01T00:00:00"
    done("train", "monthly.yaml")
    command = ("forecast", "runs/monthly", "--initial", "monthly.zarr", "--init-times", "2005-01-01", "--output")
    for lead_time in ("6 month", "6 steps"):
        done(*command, "new.nc", "--lead-time", lead_time, "--overwrite")
        with xr.open_dataset("new.nc", decode_timedelta=False) as file:
            assert days(file.valid_time) == [f"2005-{month:02d}-01" for month in range(2, 8)]
            assert file.lead_time.attrs["units"] == "months" and file.lead_time.values.tolist() == [1, 2, 3, 4, 5, 6]
    beyond = done(*command, "year.nc", "--lead-time", "1 year")
    assert "12 steps of 1 month" in beyond.err
    assert meshcast(*command, "days.nc", "--lead-time", "30d").code == 2
    assert "no truth at step 12 of 2005-01-01" in done("verify", "year.nc", "--truth", "monthly.zarr").err


def test_a_360_day_calendar_goes_in_and_comes_out_with_its_dates_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monthly("360_day").to_netcdf("monthly.nc")
    Path("monthly.yaml").write_text(MONTHLY)
    written = done("dataset", "monthly.nc", "--output", "monthly.zarr", "--json")
    explained = "dates of the 360_day calendar became the Gregorian dates of the same year and month"
    assert explained in written.err and any(explained in notice for notice in written.json["notices"])
    assert written.json["last"] == "2005-12-01T00:00:00"
    done("train", "monthly.yaml")
    for source in ("monthly.zarr", "monthly.nc"):
        done("forecast", "runs/monthly", "--initial", source, "--lead-time", "3 month", "--output", "new.nc",
             "--overwrite")  # fmt: skip
        with xr.open_dataset("new.nc", decode_timedelta=False) as file:
            assert days(file.valid_time) == ["2006-01-01", "2006-02-01", "2006-03-01"]
            assert file.attrs["meshcast_calendar"] == "360_day" and explained in file.attrs["meshcast_notices"]
    assert explained in done("inspect", "monthly.zarr").out


# Real data ------------------------------------------------------------------------------------------------------------


def test_levels_and_members_go_all_the_way_to_grib_and_netcdf(data_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = data_folder / "era5-levels-members.grib"
    done("dataset", source, "--output", "data/era5-levels.zarr")
    assert "57,840 edges" in done("graph", "era5-levels", "--picture", "graph.png").out
    done("train", "era5-levels", "training.updates=3", "validation.every=3", "validation.cases=2")
    for output in ("new.grib", "new.nc"):
        made = done("forecast", "runs/era5-levels", "--initial", source, "--lead-time", "1d", "--output", output)
        assert "1 case, 2 steps of 12h" in made.err
    grib = read_files(["new.grib"], forecasts=True)
    with xr.open_dataset("new.nc") as file:
        for name in ("z_500", "z_850", "t_500", "t_850"):
            assert file[name].shape == (1, 10, 2, 61, 120)
            values = file[name].values[0].reshape(10, 2, -1).swapaxes(0, 1)
            assert np.allclose(grib[name].values, values, rtol=1e-6, atol=2.0**-20 * np.ptp(values))
            assert file[name].std("member").max() > 0
        assert np.array_equal(grib.time.values, file.valid_time.values[0])
    assert eccodes_keys("new.grib") == {
        (stem, level, 20170102, 1200, step, member)
        for stem in "zt" for level in (500, 850) for step in (12, 24) for member in range(10)
    }  # fmt: skip


def eccodes_keys(path: str) -> set[tuple[Any, ...]]:
    import eccodes

    keys = ("shortName", "level", "dataDate", "dataTime", "step", "perturbationNumber")
    found = set()
    with open(path, "rb") as grib:
        while (message := eccodes.codes_grib_new_from_file(grib)) is not None:
            found.add(tuple(eccodes.codes_get(message, key) for key in keys))
            eccodes.codes_release(message)
    return found


def test_era5_temperature_goes_in_and_comes_out_as_grib(data_folder, tmp_path, monkeypatch):
    import eccodes

    monkeypatch.chdir(tmp_path)
    source = data_folder / "era5-2mt-2019-03-uk.grib"
    done("dataset", source, "--output", "data/era5-uk.zarr")
    persist = ("emulator={kind: persistence}", "name=persist")
    done("train", "era5-uk", *persist)
    done("forecast", "runs/persist", "--initial", source, "--init-times", "2019-03-30T22", "--lead-time", "24h",
         "--output", "new.grib")  # fmt: skip
    truth = read_files([source])
    now = truth["2t"].sel(time="2019-03-30T22").values[0]
    with open("new.grib", "rb") as grib:
        for step in range(1, 25):
            message = eccodes.codes_grib_new_from_file(grib)
            get = {key: eccodes.codes_get(message, key) for key in ("dataDate", "dataTime", "step", "shortName", "Ni")}
            assert get == {"dataDate": 20190330, "dataTime": 2200, "step": step, "shortName": "2t", "Ni": 49}
            assert eccodes.codes_get(message, "validityDate") == (20190330 if step < 2 else 20190331)
            assert np.abs(eccodes.codes_get_values(message) - now).max() < 1e-4  # persistence, to 24 bits
            eccodes.codes_release(message)
        assert eccodes.codes_grib_new_from_file(grib) is None


def test_a_gap_of_a_month_is_said_and_no_window_crosses_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    months = [index for index in range(72) if index != 30]
    monthly().isel(time=months).to_netcdf("monthly.nc")
    done("dataset", "monthly.nc", "--output", "monthly.zarr")
    assert "72, 2000-01-01T00:00:00 to 2005-12-01T00:00:00, 1 missing" in done("inspect", "monthly.zarr").out
    fields = open_fields("monthly.zarr")
    assert all(after > before for before, after in pairwise(fields.times)) and fields.missing == {30}


def test_graphs_of_a_grid_without_data_are_described_drawn_and_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("global.yaml").write_text(
        "grid: {kind: latlon, spacing: 10.0}\n"
        "graph: {processor: {kind: multi_mesh}, mesh: {kind: icosphere, level: 2}}\n"
    )
    said = done("graph", "global.yaml", "--picture", "global.png", "--output", "global.safetensors", "--json")
    assert "about 162 nodes" in said.err and "of memory at the peak" in said.err
    assert said.json["meshes"] == {"data": "global mesh of 19 x 36 nodes", "hidden": "global mesh of 162 nodes"}
    counts = {name: graph["num_edges"] for name, graph in said.json["graphs"].items()}
    assert counts["processor"] == 1260 and counts["decoder"] == 3 * 19 * 36
    assert Path("global.png").read_bytes()[1:4] == b"PNG" and load_graphs("global.safetensors").graphs is not None
    Path("part.yaml").write_text(
        "grid: {kind: latlon, spacing: 1.0, south: 48, north: 60, west: -10, east: 5}\n"
        "graph: {processor: {kind: multi_mesh}, mesh: {kind: icosphere, level: 5}}\n"
    )
    assert "limited area of" in done("graph", "part.yaml", "--picture", "part.png").out
    Path("bare.yaml").write_text("grid: {kind: icosphere, level: 2}\n")
    assert "1,260 edges" in done("graph", "bare.yaml", "--picture", "bare.png").out
    for setting, words in (
        ("grid={kind: latlon, spacing: 10.0, south: -100}", "must lie in -90 to 90 degrees"),
        ("graph.mesh.level=14", "Choose a lower level"),
        ("graph.decoder={kind: radius, distance: 10.0}", "receivers of the decoder have no sender"),
        ("grid={kind: healpyx}", "healpix"),
    ):
        refused = meshcast("graph", "global.yaml", setting)
        assert refused.code == 2 and words in refused.err


def test_a_start_on_another_grid_is_refused_with_an_offer_and_remapped_when_asked(weather_world):
    with xr.open_dataset("weather.nc") as file:
        last = file.isel(time=slice(-2, None))
        wide = {"latitude": np.linspace(57, 49, 9), "longitude": np.linspace(-9, 3, 13)}
        last.interp(wide, kwargs={"fill_value": "extrapolate"}).to_netcdf("wide.nc")
    start = (*weather_forecast("2h", "wide.nc"), "--output")
    assert "--regrid bilinear" in meshcast(*start, "new.nc").err
    done(*weather_forecast("2h"), "--output", "own.nc")
    for method, tolerance in (("bilinear", 0.5), ("conservative", 1.0)):
        said = done(*start, f"{method}.nc", "--regrid", method)
        assert f"{method} from a limited area of 9 x 13 nodes" in said.err
        with xr.open_dataset(f"{method}.nc") as remapped, xr.open_dataset("own.nc") as own:
            assert remapped.attrs["meshcast_regridding"].startswith(f"{method} from a limited area of 9 x 13 nodes to")
            assert np.abs(remapped["2t"].values - own["2t"].values).max() < tolerance
