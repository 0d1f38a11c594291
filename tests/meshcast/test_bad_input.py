"""What a user gets wrong ends in exit code 2 and one message: what was expected, what came, what to do.

Every line of the bad-input paragraph, from the command line; nothing is lost and nothing half-written.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

from tests.meshcast.command_line import done, in_a_process, no_file_beyond, refused
from tests.meshcast.conftest import weather, weather_forecast


def forecast_from(initial: str) -> tuple[str, ...]:
    return (*weather_forecast("2h", initial), "--output", "new.nc")


# Configurations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.udpates=3", ("unknown key", "did you mean training.updates?", "from training.udpates=3")),
        ("emulator.procesor={num_layers: 1}", ("did you mean emulator.processor?",)),
        ("emulator.kind=gn", ("emulator.kind", "'gn'", "did you mean gnn?")),
        ("training.updates=many", ("training.updates", "'many'", "integer")),
        ("task.prognostic=u", ("task.prognostic", "'u'", "list")),
        ("training.seed=true", ("training.seed", "True", "integer")),
        ("data.train=ring.zarr", ("data.train", "source, trajectories")),
        ("training.updates=0", ("training.updates must be at least 1, but is 0",)),
        ("training.ema_decay=1.0", ("training.ema_decay must lie in [0, 1)",)),
        ("training.average_last=1.5", ("training.average_last must be a share", "1.5")),
        ("accounting.price=-1", ("accounting.price must be a number from 0",)),
        ("emulator.processor.latent_size=0", ("latent_size must be at least 1, but is 0",)),
        ("validation.score=mae", ("validation.score", "'mae'", "'nrmse' or 'rmse'")),
        ("training.seed", ("path.to.key=value",)),
        ("name={", ("not valid YAML",)),
        ("data.train.trajectories=[0, 40]", ("trajectories 0:40", "holds 8")),
        ("task.prognostic=[v]", ("has no v", "it holds u")),
        ("validation.steps=40", ("16 times", "40 steps", "Shorten")),
        ("training.precision=half", ("precision=half", "16-mixed")),
        ("training.strategy=hope", ("strategy=hope",)),
        ("training.accelerator=tpu", ("accelerator=tpu",)),
        ("resume=perhaps", ("resume is auto or never", "'perhaps'")),
    ],
)
def test_configuration_faults_name_the_key_and_what_was_expected(ring_world, override, words):
    refused("train", "ring.yaml", "name=other", override, says=words, leaves=("runs/other",))
    assert not Path("runs/other/emulator.safetensors").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("num_node=3", ("unknown key",)),
        ("order=3", ("order", "got 3", "2 or 4")),
        ("time_step=fast", ("time_step", "'fast'", "number")),
        ("time_step=-1", ("time_step > 0", "-1")),
        ("num_frames=1", ("num_frames >= 2", "1")),
        ("mesh.num_nodes=2", ("at least 3 nodes", "2")),
        ("equation={kind: burgers, viscosity: 1}", ("did you mean equation.diffusivity?",)),
        ("output=new.nc", ("must end in .zarr",)),
    ],
)
def test_simulation_faults_are_told_before_any_step(ring_world, override, words):
    refused("simulate", "simulation.yaml", "output=new.zarr", override, says=words)


def test_several_faults_of_a_configuration_stand_in_one_report(ring_world):
    refused("train", "ring.yaml", "nmae=a", "training.updates=x", "task.histroy=2",
            says=("3 faults", "did you mean name?", "training.updates", "did you mean task.history?"))  # fmt: skip


def test_a_broken_or_missing_configuration_is_told_apart(ring_world):
    refused("train", "rings.yaml", says=("no configuration rings.yaml", "meshcast configs list"))
    refused("train", "ring-advections", says=("Did you mean the shipped ring-advection?",))
    Path("broken.yaml").write_text("name: [a\n")
    refused("train", "broken.yaml", says=("not valid YAML", "line 2"))
    Path("empty.yaml").write_text("")
    refused("train", "empty.yaml", says=("must hold keys and values", "is empty"))
    refused("train", "simulation.yaml", says=("data: missing", "equation: unknown key"))
    refused("compare", "ring.yaml", says=("rows: missing", "emulator: unknown key"))


# Files ----------------------------------------------------------------------------------------------------------------


def reversed_times(file: xr.Dataset) -> xr.Dataset:
    return file.isel(time=slice(None, None, -1))


def repeated_time(file: xr.Dataset) -> xr.Dataset:
    return file.isel(time=[0, 1, 1, 2])


def uneven_times(file: xr.Dataset) -> xr.Dataset:
    return file.isel(time=[0, 2, 5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.isel(time=0, drop=True), ("no time", "Add one", "hours since 1970-01-01")),
        (lambda file: file.assign_coords(time=range(file.sizes["time"])), ("has no times", "units")),
        (reversed_times, ("has descending times", "2019-03-01T02:00:00 is followed by 2019-03-01T01:00:00", "sort")),
        (repeated_time, ("repeats a time", "2019-03-01T01:00:00 is followed by 2019-03-01T01:00:00", "duplicates")),
        (lambda file: file.drop_vars("latitude"), ("has no latitude",)),
    ],
)
def test_a_netcdf_file_whose_coordinates_are_at_fault_is_refused_wherever_it_is_read(weather_world, change, words):
    change(weather(3)).to_netcdf("faulty.nc")
    refused("dataset", "faulty.nc", "--output", "new.zarr", says=("faulty.nc", *words))
    refused(*forecast_from("faulty.nc"), says=("faulty.nc", *words))


def test_uneven_times_are_told_with_the_place(weather_world):
    uneven_times(weather(6)).to_netcdf("faulty.nc")
    refused(
        "dataset", "faulty.nc", "--output", "new.zarr", says=("no fixed step", "2019-03-01T05:00:00", "--frequency")
    )


@pytest.mark.parametrize(
    "command",
    [
        ("dataset", "gone.nc", "--output", "new.zarr"),
        forecast_from("gone.nc"),
        forecast_from("gone.zarr"),
        (*forecast_from("weather.nc"), "--forcing", "gone.csv"),
        ("forecast", "gone", "--lead-time", "2h", "--output", "new.nc", "--initial", "weather.nc"),
        ("inspect", "gone.nc"),
        ("export", "gone", "--output", "new"),
        ("plot", "gone.nc"),
        ("verify", "gone.nc", "--truth", "weather.zarr"),
        ("train", "weather.yaml", "name=gone", "data.train.source=gone.zarr"),
        ("train", "weather.yaml", "name=gone", "data.forcing_tables=[gone.csv]"),
        ("graph", "weather.yaml", "data.train.source=gone.zarr"),
        ("train", "weather.yaml", "--plugin", "gone.py"),
    ],
)
def test_a_missing_file_is_named(weather_world, command):
    refused(*command, says=("gone",), leaves=("runs/gone",))


def test_an_emulator_that_is_not_in_tensorflow_is_not_exported(weather_world):
    refused("export", "runs/weather", "--output", "new", says=("kind gnn", "keras_cnn", "keras_lstm"))


def test_truncated_and_foreign_files_are_told_apart(weather_world):
    done(*weather_forecast("3h"), "--output", "whole.grib")
    for name in ("whole.grib", "weather.nc"):
        content = Path(name).read_bytes()
        Path(f"short_{name}").write_bytes(content[: 2 * len(content) // 3 - 9])
        Path(f"shorter_{name}").write_bytes(content[:60])
    for name in ("short_whole.grib", "shorter_whole.grib", "short_weather.nc", "shorter_weather.nc"):
        for command in (("dataset", name, "--output", "new.zarr"), forecast_from(name), ("plot", name, "-o", "plots")):
            refused(*command, says=(name, "truncated", "Fetch it again"))
    for command in (("dataset", "co2.csv", "--output", "new.zarr"), forecast_from("co2.csv"), ("plot", "co2.csv")):
        refused(*command, says=("co2.csv begins with", "neither GRIB nor NetCDF"))


def test_all_faults_of_an_initial_condition_stand_in_one_report(weather_world):
    file = weather(3).isel(longitude=slice(0, 5)).drop_vars("msl")
    file["t2m"][1, 2, 3] = np.nan
    file["t2m"].attrs["units"] = "m"
    file.to_netcdf("faulty.nc")
    message = refused(
        *forecast_from("faulty.nc"), "--init-times", "2019-04-01",
        says=("5 reason(s)", "lacks the variable msl", "It has 2t", "--rename",
              "units m, which cannot be converted to K", "limited area of 4 x 5 nodes",
              "4 of 24 nodes are not there", "Remap it", "initial time 2019-04-01T00:00:00 is not there",
              "covers 2019-03-01T00:00:00 to 2019-03-01T02:00:00", "1 values that are NaN", "node 13"),
    )  # fmt: skip
    assert message.count("\n- ") == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.drop_vars("msl"), ("lacks the variable msl",)),
        (lambda file: file.assign(msl=file.msl.assign_attrs(units="kg")), ("units kg, which cannot be converted",)),
        (lambda file: file.assign(msl=file.msl.assign_attrs(units="")), ("no units", "Pa is expected", "--units msl=")),
        (lambda file: file.isel(latitude=slice(0, 3)), ("limited area of 3 x 6", "6 of 24 nodes are not there")),
        (lambda file: file.assign_coords(longitude=file.longitude + 1), ("24 of 24 nodes are not there",)),
        (lambda file: file.where(file.latitude < 56), ("12 values that are NaN", "56.00 N")),
        (lambda file: file.isel(time=[0]), ("no time has the 2 fields a start needs",)),
    ],
)
def test_each_fault_of_an_initial_condition_is_told(weather_world, change, words):
    change(weather(3)).to_netcdf("faulty.nc")
    refused(*forecast_from("faulty.nc"), says=words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--init-times", "2019-03-01T00", ("no field of its history", "2019-02-28T23:00:00")),
        ("--init-times", "2019-03-01T05:30", ("2019-03-01T05:30:00 is not there", "nearest are")),
        ("--init-times", "tomorrow", ("Cannot read 'tomorrow' as a date", "START/END/STEP")),
        ("--init-times", "2019-03-02/2019-03-01/6h", ("end before they start",)),
        ("--lead-time", "90m", ("90m is no multiple of the time step 1h", "1 steps", "2 steps")),
        ("--lead-time", "1 month", ("cannot be counted in steps of 1h",)),
        ("--lead-time", "soon", ("Cannot read 'soon' as a duration", "6h")),
        ("--lead-time", "400d", ("co2.csv covers 2019-01-01", "Extend the table or shorten the lead time")),
        ("--members", "3", ("3 members from one state need a perturbation", "--perturb")),
        ("--members", "0", ("--members", "greater than or equal to 1")),
        ("--forcing", "weather.zarr", ("No source for the forcing co2", "--forcing")),
        ("--rename", "t2m", ("--rename takes name=value", "'t2m'")),
        ("--rename", "t3m=2t2", ("no file has a variable t3m", "did you mean t2m?")),
        ("--trajectories", "first", ("FIRST:STOP", "'first'")),
        ("--grib", "centre=ecmf", ("--grib says what GRIB holds, but the output is new.nc", ".grib")),
        ("--output", "new.txt", ("NetCDF (.nc) or GRIB (.grib)", "new.txt")),
    ],
)
def test_options_of_a_forecast_are_checked_before_the_rollout(weather_world, option, value, words):
    absent = ("--forcing", "co2.csv") if option == "--forcing" else ()
    command = [word for word in forecast_from("weather.nc") if word not in absent]
    refused(*command, option, value, says=words)


def test_a_forcing_table_that_serves_nothing_is_refused(weather_world):
    """Else the forcing would be what a dataset holds or what is computed, and nobody would know."""
    Path("carbon.csv").write_text("date,carbon\n2019-01-01,402\n2020-01-01,412\n")
    refused(*forecast_from("weather.nc"), "--forcing", "carbon.csv",
            says=("carbon.csv holds carbon", "takes cos_local_time, co2", "Name its columns so"))  # fmt: skip


def test_times_of_an_equation_are_its_own(ring_world):
    command = ("forecast", "runs/ring", "--initial", "ring.zarr", "--output", "new.nc")
    refused(*command, "--lead-time", "0.12", says=("0.12 is no multiple of the time step 0.05", "`2 steps`"))
    refused(*command, "--lead-time", "6h", says=("cannot be counted in steps of 0.05",))
    refused(*command, "--lead-time", "0.1", "--init-times", "0.12",
            says=("0.12 is no multiple of the time step 0.05", "0.1, 0.15"))  # fmt: skip
    refused(*command, "--lead-time", "0.1", "--init-times", "2", says=("2 is not there", "0 to 0.75 every 0.05"))
    refused(*command, "--lead-time", "0.1", "--trajectories", "6:9", says=("6:9", "holds 8"))
    refused(*command, "--lead-time", "0.1", "--output", "new.grib", says=("ring of 24 nodes", "NetCDF (.nc) instead"))


# Checkpoints ----------------------------------------------------------------------------------------------------------


class Payload:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("executed",)


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload()))


def of_another_program(path: Path) -> None:
    save_file({"weight": np.ones(3, dtype=np.float32)}, path)


def graphs_of_ours(path: Path) -> None:
    path.unlink()
    done("graph", "ring.yaml", "--output", path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (corrupt, ("was altered", "Copy it again")),
        (truncate, ("no readable checkpoint", "truncated")),
        (pickled, ("no readable checkpoint", "pickles never are")),
        (of_another_program, ("not a Meshcast checkpoint", "emulator.safetensors")),
        (graphs_of_ours, ("bad.safetensors",)),
        (lambda path: path.write_text("hello"), ("no readable checkpoint",)),
        (lambda path: path.write_bytes(b""), ("no readable checkpoint",)),
    ],
)
def test_a_bad_checkpoint_is_refused_and_executes_nothing(ring_world, change, words):
    shutil.copy("runs/ring/emulator.safetensors", "bad.safetensors")
    change(Path("bad.safetensors"))
    start = ("--initial", "ring.zarr", "--lead-time", "2 steps", "--output", "new.nc")
    refused("forecast", "bad.safetensors", *start, says=("bad.safetensors", *words))
    refused("inspect", "bad.safetensors", says=("bad.safetensors", *words))
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (["--try", "training.noise"], ("training.noise: an override reads path.to.key=value",)),
        (["--try", "training.noise=0.1"], ("noise", "0.1", "list")),
        (["--try", "training.noise=0.1..0.01"], ("0.1..0.01", "low end must lie below")),
        (["--try", "training.udpates=[3]"], ("unknown key", "did you mean training.updates?")),
        (["--try", "training.unroll=[1.5]"], ("training.unroll", "1.5")),
        (["--try", "data.train=[3]"], ("begin with training. or emulator.",)),
        (["--try", "emulator.kind=[gnn, cnnn]"], ("cnnn", "cnn")),
        (["--search", "nowhere.yaml"], ("nowhere.yaml",)),
        (["--pruner", "medain"], ("pruner", "median")),
        (["--trials", "0"], ("trials must be at least 1",)),
        (["--workers", "0"], ("--workers must be at least 1",)),
        (["--timeout", "-1"], ("--timeout must be positive",)),
        (["--study", "a/b"], ("--study", "a/b")),
    ],
)
def test_trials_of_what_is_no_setting_are_refused(ring_world, tried, words):
    refused("tune", "ring.yaml", *tried, says=words)


@pytest.mark.parametrize("change", [truncate, pickled])
def test_a_bad_checkpoint_to_resume_from_is_refused_and_executes_nothing(ring_world, change):
    change(Path("runs/ring/last.ckpt"))
    Path("runs/ring/done.json").unlink()
    refused("train", "ring.yaml", "resume=auto", says=("last.ckpt cannot be resumed from", "Remove it"))
    assert not Path("executed").exists()


def test_an_emulator_of_other_variables_or_another_mesh_says_what_it_needs(weather_world, _ring):
    weather(4).rename(t2m="sst").drop_vars("msl").to_netcdf("sea.nc")
    done("dataset", "sea.nc", "--output", "sea.zarr")
    refused(*forecast_from("sea.zarr"), says=("lacks the variable 2t, msl", "It has sst"))
    shutil.copytree(_ring / "ring.zarr", "ring.zarr")
    refused(*forecast_from("ring.zarr"), says=("ring of 24 nodes", "limited area of 4 x 6", "lacks the variable"))
    config = Path("weather.yaml").read_text().replace("  forcing", "  test: {source: sea.zarr}\n  forcing", 1)
    config = config.replace("[2t, msl], forcing: [cos_local_time, co2]", "[sst]")
    head, tail = config.split("emulator:")[0], "rows: {old: {checkpoint: runs/weather}}\n"
    Path("compare.yaml").write_text(head.replace("weather.zarr", "sea.zarr") + tail)
    refused("compare", "compare.yaml", says=("old cannot forecast sea.zarr", "no 2t", "no 2t, but sst"))
    done(*forecast_from("weather.nc"))
    refused("verify", "new.nc", "--truth", "sea.zarr", says=("2t, msl", "the truth sst", "nothing in common"))
    refused("verify", "new.nc", "--truth", "ring.zarr", says=("2t, msl", "the truth u", "nothing in common"))
    refused("verify", "new.nc", "--truth", "weather.zarr", "--wet", "2t", says=("--wet takes name=value",))
    refused("verify", "new.nc", "--truth", "weather.zarr", "--wet", "2t=warm", says=("--wet takes name=number",))
    refused("verify", "new.nc", "--truth", "weather.zarr", "--wet", "tp=1", says=("wet names tp", "2t, msl"))


def test_another_configuration_does_not_continue_a_run(ring_world):
    refused("train", "ring.yaml", "training.seed=5", "resume=auto", says=("another configuration", "training", "name"))


# Places to write to ---------------------------------------------------------------------------------------------------

WRITING: dict[str, Callable[[str], tuple[str, ...]]] = {
    ".zarr": lambda path: ("simulate", "simulation.yaml", f"output={path}"),
    ".safetensors": lambda path: ("graph", "ring.yaml", "--output", path),
    ".png": lambda path: ("graph", "ring.yaml", "--picture", path),
    ".nc": lambda path: ("forecast", "runs/ring", "--initial", "ring.zarr", "--lead-time", "2 steps", "-o", path),
    ".yaml": lambda path: ("configs", "copy", "ring-ks", path),
}


@pytest.mark.parametrize("ending", WRITING)
def test_what_exists_is_not_overwritten_unasked(ring_world, ending):
    Path(f"there{ending}").write_text("precious")
    refused(*WRITING[ending](f"there{ending}"), says=(f"there{ending} exists",))
    if ending in (".zarr", ".nc"):
        done(*WRITING[ending](f"there{ending}"), "--overwrite")
        assert contents_differ(f"there{ending}")


def contents_differ(path: str) -> bool:
    return Path(path).is_dir() or Path(path).read_bytes() != b"precious"


@pytest.mark.parametrize("ending", WRITING)
@pytest.mark.parametrize("folder", ["ring.yaml", "/proc"])
def test_what_cannot_be_written_is_told_with_its_path(ring_world, ending, folder):
    refused(*WRITING[ending](f"{folder}/new{ending}"), says=(f"{folder}/new{ending}",))


def test_a_forecast_does_not_replace_what_it_starts_from(weather_world):
    refused(
        *weather_forecast("2h"), "--output", "./weather.nc", "--overwrite", says=("is what the forecast starts from",)
    )


def test_datasets_runs_and_grib_are_not_overwritten_either(weather_world):
    refused("dataset", "weather.nc", "--output", "weather.zarr", says=("weather.zarr exists", "--overwrite"))
    refused(
        "dataset", "weather.nc", "--output", "new.zarr", "--level", "3", says=("--truncation and --level together",)
    )
    to_nodes = ("--truncation", "5", "--level", "1")
    refused("dataset", "weather.nc", "--output", "new.zarr", *to_nodes, says=("nodes all over the sphere",))
    assert not Path("new.zarr").exists()
    refused("dataset", "weather.nc", "--output", "co2.csv/new.zarr", says=("co2.csv/new.zarr",))
    refused("train", "weather.yaml", says=("already holds a run", "resume=auto", "name=NAME"))
    refused("train", "weather.yaml", "output=co2.csv", says=("co2.csv", "output=FOLDER"))
    Path("there.grib").write_text("precious")
    refused(*weather_forecast("2h"), "--output", "there.grib", says=("there.grib exists",))
    done(*forecast_from("weather.nc"), "--init-times", "2019-03-03T00")
    for place in ("co2.csv", "co2.csv/new"):
        refused("plot", "new.nc", "--output", place, says=(place,))
        refused("verify", "new.nc", "--truth", "weather.zarr", "--output", place, says=(place,))
        refused("demo", "ring", "--output", place, says=(place,))


def test_a_disk_that_fills_up_while_a_dataset_is_written_leaves_none(weather_world):
    for room in (1_000, 10_000):
        with no_file_beyond(room):
            refused("dataset", "weather.nc", "--output", "new.zarr", says=("new.zarr", "disk is full", "Free some"))


def test_a_disk_that_fills_up_while_a_run_is_trained_leaves_whole_files(ring_world):
    for room in (100, 4_000, 20_000):
        name = f"full{room}"
        with no_file_beyond(room):
            refused("train", "ring.yaml", f"name={name}", says=("No room left", name), leaves=(f"runs/{name}",))
        assert not list(Path("runs", name).glob("*part*"))
        if Path("runs", name, "emulator.safetensors").exists():
            done("inspect", f"runs/{name}")
    done("train", "ring.yaml", "name=full20000", "resume=auto")


def test_a_disk_that_fills_up_while_a_forecast_is_written_keeps_what_was_made(weather_world):
    command = (*weather_forecast("30h", "weather.zarr"), "--output")
    done(*command, "whole.nc")
    with no_file_beyond(500):
        refused(*command, "new.nc", says=("new.nc", "disk is full"))
    for room, most in ((6_000, 29), (12_000, 30)):
        with no_file_beyond(room):
            said = refused(*command, f"new{room}.nc", says=("disk is full", "lead times", "resume"), leaves=("new",))
        made = int(re.findall(r"the (\d+) lead times computed so far", said)[0])
        assert 0 < made <= most and (made == 30) == (most == 30)
        assert not Path(f"new{room}.nc").exists()
        done(*command, f"new{room}.nc", "--resume")
        whole, resumed = (xr.open_dataset(name, decode_timedelta=False) for name in ("whole.nc", f"new{room}.nc"))
        assert whole.drop_attrs().identical(resumed.drop_attrs())


def test_a_disk_that_fills_up_while_grib_is_written_keeps_the_forecast(weather_world, monkeypatch):
    import eccodes

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    command = (*weather_forecast("3h", "weather.zarr"), "--output", "new.grib")
    with monkeypatch.context() as patch:
        patch.setattr(eccodes, "codes_write", full)
        refused(
            *command,
            says=("disk is full", "new.grib was not written", "whole, as NetCDF, in new.grib.nc"),
            leaves=("new",),
        )
    assert not Path("new.grib").exists()
    assert xr.open_dataset("new.grib.nc")["2t"].notnull().all()


def test_a_disk_that_fills_up_while_a_report_is_written_is_told(ring_world):
    done(*WRITING[".nc"]("new.nc"), "--init-times", "0")
    with no_file_beyond(2_000):
        refused(
            "verify", "new.nc", "--truth", "ring.zarr", "-o", "report", says=("File too large",), leaves=("report",)
        )


def test_a_mistake_ends_in_code_2_in_a_process_of_its_own(ring_world):
    ended = in_a_process("train", "ring.yaml", "training.udpates=1")
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("Error: ring.yaml has 1 fault:") and "Traceback" not in ended.stderr
