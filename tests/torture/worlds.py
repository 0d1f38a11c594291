"""The preloaded process: every library imported and warm, and small inputs of every kind, made by the commands."""

from __future__ import annotations

import contextlib
import functools
import gc
import shutil
from pathlib import Path
from unittest import mock

from tests.emulator.data.the_well.planetswe import planetswe_file
from tests.meshcast.command_line import done, interrupting, meshcast
from tests.meshcast.conftest import CO2, RING, SIMULATION, WEATHER, comparison, weather, weather_forecast

ROWS = """\
  still: {emulator: {kind: persistence}}
  network: {emulator: {kind: gnn, processor: {kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}}}
"""


def forecast_from(initial: str) -> list[str]:
    """Return a forecast's command line of two cases, which lacks its --output."""
    return [*weather_forecast("4h", initial), "--init-times", "2019-03-01T12, 2019-03-02T00"]


FORECAST = forecast_from("weather.nc")
TO_NODES = ["dataset", "well.hdf5", "--truncation", "4", "--level", "1"]
RING_FORECAST = ["forecast", "runs/ring", "--initial", "ring.zarr", "--lead-time", "4 steps", "--trajectories", "6:8",
                 "--init-times", "0"]  # fmt: skip


def make_world(folder: Path) -> None:
    """Fill `folder` with the inputs of all commands; what is imported and kept on the way stays in this process."""
    from anemoi.utils import provenance

    # Every dataset records the versions of the thousands of modules loaded, longer than a small one takes to write.
    provenance._module_versions = functools.cache(provenance._module_versions)
    folder.mkdir(parents=True)
    with contextlib.chdir(folder):
        for name, text in (("simulation", SIMULATION), ("ring", RING), ("weather", WEATHER)):
            Path(f"{name}.yaml").write_text(text)
        Path("table.yaml").write_text(comparison("table", ROWS))
        Path("co2.csv").write_text(CO2)
        weather().to_netcdf("weather.nc")
        done("simulate", "simulation.yaml")
        done("dataset", "weather.nc", "--output", "weather.zarr")
        weather(48).to_netcdf("earlier.nc")
        done("dataset", "earlier.nc", "--output", "earlier.zarr")
        done("simulate", "simulation.yaml", "output=other.zarr", "seed=1")
        done("train", "ring.yaml")
        done("train", "weather.yaml")
        done(*FORECAST, "--output", "forecast.nc")
        done(*FORECAST, "--output", "earlier-forecast.nc", "--seed", "1", "--members", "2", "--perturb", "0.1")
        done(*FORECAST, "--output", "forecast.grib")
        done(*RING_FORECAST, "--output", "ring.nc")
        done("verify", "forecast.nc", "--truth", "weather.zarr", "--json")
        done("verify", "ring.nc", "--truth", "ring.zarr", "--output", "report")
        done("plot", "ring.nc", "--output", "plots")
        done("graph", "ring.yaml", "--output", "graphs.safetensors")
        done("compare", "table.yaml")
        done("reproduce", "runs/table", "--row", "network")
        planetswe_file(Path("well.hdf5"), trajectories=(0, 1))
        done("dataset", "well.hdf5", "--output", "globe.zarr")
        done(*TO_NODES, "--output", "nodes.zarr")
        done("dataset", "globe.zarr", "--output", "globe.hdf5")
        _break_off_a_training()
        _break_off_a_forecast()
    gc.collect()
    gc.freeze()  # so that forks do not copy what they only count


def _break_off_a_training() -> None:
    from training.optimisation.module import EmulatorModule

    with mock.patch.object(EmulatorModule, "training_step", interrupting(EmulatorModule.training_step, 7)):
        assert meshcast("train", "ring.yaml", "output=half").code == 130
    assert Path("half/ring/last.ckpt").is_file()


def _break_off_a_forecast() -> None:
    from emulator.data.forecast_file import ForecastWriter

    with mock.patch.object(ForecastWriter, "append", interrupting(ForecastWriter.append, 3)):
        assert meshcast(*FORECAST, "--output", "broken.nc").code == 130
    assert Path("broken.nc.part").is_file()


def copy(world: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Copy inputs of the world, `THERE` or `THERE=HERE`, into the working folder of a case."""
    for name in names:
        there, _, here = name.partition("=")
        source, target = world / there, folder / (here or there)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
