"""The commands under torture: what each reads, what it writes, and how a user goes on after a fault."""

from __future__ import annotations

from dataclasses import dataclass

from tests.torture.worlds import FORECAST, RING_FORECAST, TO_NODES, forecast_from


@dataclass(frozen=True)
class Command:
    """A command line on small inputs.

    inputs: of the world, `THERE` or `THERE=HERE` (worlds.copy); none of them may change but those in `outputs`.
    outputs: files and folders it writes under their final names.
    fresh: options for a run that repeats one whose output is whole already.
    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


def _command(name: str, line: list[str], inputs: str, outputs: str = "", fresh: str = "") -> Command:
    return Command(name, tuple(line), tuple(inputs.split()), tuple(outputs.split()), tuple(fresh.split()))


WEATHER_RUN = "weather.nc weather.zarr runs/weather co2.csv"
RING_RUN = "ring.zarr runs/ring"
COMMANDS = {command.name: command for command in (
    _command("simulate", ["simulate", "simulation.yaml"], "simulation.yaml", "ring.zarr", "--overwrite"),
    _command("simulate over another", ["simulate", "simulation.yaml", "--overwrite"],
             "simulation.yaml other.zarr=ring.zarr", "ring.zarr"),
    _command("dataset", ["dataset", "weather.nc", "--output", "new.zarr"], "weather.nc", "new.zarr", "--overwrite"),
    _command("dataset over another", ["dataset", "weather.nc", "--output", "new.zarr", "--overwrite"],
             "weather.nc earlier.zarr=new.zarr", "new.zarr"),
    _command("dataset of The Well", ["dataset", "well.hdf5", "--output", "new.zarr"], "well.hdf5", "new.zarr",
             "--overwrite"),
    _command("dataset at other nodes", [*TO_NODES, "--output", "new.zarr"], "well.hdf5", "new.zarr", "--overwrite"),
    _command("file of The Well", ["dataset", "globe.zarr", "--output", "new.hdf5"], "globe.zarr", "new.hdf5",
             "--overwrite"),
    _command("file of The Well over another", ["dataset", "globe.zarr", "--output", "new.hdf5", "--overwrite"],
             "globe.zarr well.hdf5=new.hdf5", "new.hdf5"),
    _command("inspect a file of The Well", ["inspect", "well.hdf5"], "well.hdf5"),
    _command("train", ["train", "ring.yaml"], "ring.yaml ring.zarr", "runs/ring", "resume=auto"),
    _command("train on", ["train", "ring.yaml", "output=half", "resume=auto"], "ring.yaml ring.zarr half/ring",
             "half/ring"),
    _command("forecast", [*FORECAST, "--output", "new.nc"], WEATHER_RUN, "new.nc", "--overwrite"),
    _command("forecast from a dataset", [*forecast_from("weather.zarr"), "--output", "new.nc"],
             WEATHER_RUN, "new.nc", "--overwrite"),
    _command("forecast over another", [*FORECAST, "--output", "new.nc", "--overwrite"],
             f"{WEATHER_RUN} earlier-forecast.nc=new.nc", "new.nc"),
    _command("forecast on", [*FORECAST, "--output", "broken.nc", "--resume"], f"{WEATHER_RUN} broken.nc.part",
             "broken.nc", "--overwrite"),
    _command("forecast in GRIB", [*FORECAST, "--output", "new.grib"], WEATHER_RUN, "new.grib", "--overwrite"),
    _command("forecast on a ring", [*RING_FORECAST, "--output", "new.nc"], RING_RUN, "new.nc", "--overwrite"),
    _command("verify", ["verify", "forecast.nc", "--truth", "weather.zarr", "--json"], f"forecast.nc {WEATHER_RUN}"),
    _command("verify GRIB", ["verify", "forecast.grib", "--truth", "weather.nc", "--json"],
             f"forecast.grib {WEATHER_RUN}"),
    _command("report", ["verify", "ring.nc", "--truth", "ring.zarr", "--output", "report"], f"ring.nc {RING_RUN}",
             "report"),
    _command("plot", ["plot", "ring.nc", "--output", "plots"], "ring.nc", "plots"),
    _command("inspect a run", ["inspect", "runs/ring"], RING_RUN),
    _command("inspect a dataset", ["inspect", "weather.zarr"], "weather.zarr"),
    _command("inspect a forecast", ["inspect", "forecast.nc"], "forecast.nc"),
    _command("inspect GRIB", ["inspect", "forecast.grib"], "forecast.grib"),
    _command("graph", ["graph", "ring.yaml", "--output", "new.safetensors"], "ring.yaml ring.zarr", "new.safetensors"),
    _command("copy a configuration", ["configs", "copy", "ring-advection", "mine.yaml"], "ring.yaml", "mine.yaml"),
    _command("compare", ["compare", "table.yaml"], "table.yaml ring.zarr", "runs/table results"),
    _command("compare on", ["compare", "table.yaml"], "table.yaml ring.zarr runs/table results", "runs/table results"),
    _command("reproduce", ["reproduce", "runs/table", "--row", "network"], "ring.zarr runs/table results"),
)}  # fmt: skip
