"""From a forecast back to the files that its emulator learned from, and what is said where the chain is broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.meshcast.command_line import done

pytestmark = pytest.mark.usefixtures("weather_world")
FORECAST = ("forecast", "runs/weather", "--initial", "weather.nc", "--lead-time", "3h", "--forcing", "co2.csv", "-o")


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def links(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done("inspect", path, "--lineage", "--json").json["lineage"]
    return found


def statuses(path: str) -> dict[str, str]:
    """The status of each link, by what it is and the name of its file."""
    return {f"{link['link']}: {Path(link['name']).name}": link["status"] for link in links(path)}


WHOLE = {
    "emulator: emulator.safetensors": "unchanged",
    "run: weather": "not looked at",
    'training data: {"dataset": "weather.zarr", "end": "2019-03-02T23:00:00"}': "unchanged",
    "source file: weather.nc": "unchanged",
    "initial data: weather.nc": "unchanged",
    "forcing: co2.csv": "unchanged",
}


def test_a_forecast_leads_back_to_the_hashes_of_all_source_files() -> None:
    done(*FORECAST, "a.nc")
    chain = {link["link"]: link for link in links("a.nc")}
    assert statuses("a.nc") == WHOLE
    assert chain["source file"]["digest"] == chain["initial data"]["digest"] == sha256("weather.nc")
    assert chain["forcing"]["digest"] == sha256("co2.csv")
    assert chain["source file"]["about"] == {"bytes": Path("weather.nc").stat().st_size}
    emulator = json.loads(done("inspect", "runs/weather", "--json").out)
    assert chain["run"]["about"]["updates"] == emulator["updates"] and "torch" in chain["run"]["about"]
    assert len(chain["run"]["digest"]) == len(chain["training data"]["digest"]) == 16
    assert statuses("runs/weather") == {name: WHOLE[name] for name in list(WHOLE)[:4]}
    assert statuses("weather.zarr") == {"source file: weather.nc": "unchanged"}
    said = done("inspect", "a.nc", "--lineage").out
    assert f"weather.nc, {sha256('weather.nc')[:16]}: unchanged" in said
    for ending in (".zarr", ".grib"):
        done(*FORECAST, f"a{ending}")
    assert statuses("a.zarr") == WHOLE


def test_a_forecast_from_a_dataset_names_the_files_that_this_was_made_of() -> None:
    done(*FORECAST[:3], "weather.zarr", *FORECAST[4:], "a.nc")
    found = statuses("a.nc")
    assert found["initial data: weather.zarr"] == found["source file of weather.zarr: weather.nc"] == "unchanged"


def test_what_was_changed_or_moved_since_is_named_and_the_rest_still_known() -> None:
    done(*FORECAST, "a.nc")
    before = {link["link"]: link["digest"] for link in links("a.nc")}
    with Path("co2.csv").open("a") as table:
        table.write("2021-01-01,420\n")
    shutil.move("weather.nc", "elsewhere.nc")
    shutil.move("weather.zarr", "elsewhere.zarr")
    found = statuses("a.nc")
    assert found["forcing: co2.csv"] == "changed"
    assert found["initial data: weather.nc"] == found["source file: weather.nc"] == "not there"
    assert [status for name, status in found.items() if name.startswith("training data")] == ["not there"]
    assert "because there is no weather.zarr" in done("inspect", "a.nc", "--lineage").out
    assert {link["link"]: link["digest"] for link in links("a.nc")} == before

    done("train", "weather.yaml", "name=other", "training.seed=7", "data.train.source.dataset=elsewhere.zarr",
         "data.validation.source.dataset=elsewhere.zarr")  # fmt: skip
    shutil.copy("runs/other/emulator.safetensors", "runs/weather/emulator.safetensors")
    found = statuses("a.nc")
    assert found["emulator: emulator.safetensors"] == "changed" and found["run: weather"] == "not looked at"
    assert {link["link"]: link["digest"] for link in links("a.nc")}["training data"] == before["training data"]
    shutil.rmtree("runs/weather")
    assert statuses("a.nc")["emulator: emulator.safetensors"] == "not there"


@pytest.mark.slow
def test_data_that_were_made_anew_with_other_values_are_seen_to_be_others() -> None:
    import xarray as xr

    with xr.open_dataset("weather.nc") as stored:
        other = stored.load() + 0
    for name in other.data_vars:
        other[name].attrs = stored[name].attrs
    name = next(iter(other.data_vars))
    other[name][0] += 1.0
    other.to_netcdf("weather.nc")
    done("dataset", "weather.nc", "-o", "weather.zarr", "--overwrite")
    found = statuses("runs/weather")
    assert found["source file: weather.nc"] == "changed"
    assert [status for name, status in found.items() if name.startswith("training data")] == ["changed"]


@pytest.mark.slow
def test_what_is_fetched_is_hashed_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = Path("weather.nc").open("rb")  # noqa: SIM115

        @staticmethod
        def isatty() -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Input)
    done("dataset", "-", "-o", "piped.zarr")
    (link,) = links("piped.zarr")
    assert link["name"] == "standard input" and link["status"] == "not looked at"
    assert link["digest"] == sha256("weather.nc")
    done("dataset", "weath*.nc", "-o", "pattern.zarr")
    assert statuses("pattern.zarr") == {"source file: weather.nc": "unchanged"}


@pytest.mark.parametrize(
    "lineage",
    [
        "no JSON",
        '{"emulator": 3, "inputs": [1, 2]}',
        '{"inputs": {"initial": [{"name": "/dev/zero", "sha256": "0"}, {"name": "/", "structure": "0"}, 7]}}',
        '{"emulator": {"file": "weather.nc", "digest": "0"}, "inputs": {"initial": "x"}}',
    ],
)
def test_a_lineage_that_somebody_made_up_is_borne(lineage: str) -> None:
    import netCDF4

    done(*FORECAST, "a.nc")
    with netCDF4.Dataset("a.nc", "a") as file:
        file.setncattr("meshcast_lineage", lineage)
        file.setncattr("meshcast_training", '{"data": {"train": {"source": "https://example.org/x.nc"}}}')
    found = {link["link"]: link for link in links("a.nc")}
    assert found["training data"]["status"] == "not looked at"
    assert found["training data"]["about"] == {"because": "its configuration names an address"}
    assert all(link["status"] in ("not there", "not looked at", "changed", "unchanged") for link in found.values())


def test_a_forecast_of_an_earlier_version_says_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.forecasts.lineage.lineage_of", lambda *args, **options: {})
    done(*FORECAST, "a.nc")
    found = statuses("a.nc")
    assert found["emulator: weather"] == "not looked at" and found["run: weather"] == "not looked at"
