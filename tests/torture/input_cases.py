"""Inputs that are damaged, malicious or merely unusual: refused, or read without a wrong success."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.torture import mutators
from tests.torture.commands import RING_RUN, WEATHER_RUN
from tests.torture.fault_cases import set_up
from tests.torture.judge import Reference, Verdict, digests, judge_end, read_findings, write_findings
from tests.torture.mutators import BYTES, Mutator
from tests.torture.process import Process
from tests.torture.whole import NotWholeError, content, contents, is_temporary
from tests.torture.worlds import FORECAST, RING_FORECAST, TO_NODES, forecast_from

SAID = r"nan|not finite|no number|masked|missing|guard|gap"


@dataclass(frozen=True)
class Reader:
    """A command that reads an input: its line, what else it needs, and what it writes.

    same_as: the command whose result it must have where the alteration of a file with a digest went unnoticed.
    """

    line: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    same_as: str = ""


@dataclass(frozen=True)
class Target:
    """An input, how it is altered, and the commands that read it; `digest`: whether an alteration must be noticed."""

    path: str
    mutators: tuple[Mutator, ...]
    readers: tuple[Reader, ...]
    weight: float = 1.0
    digest: bool = False


def _reader(line: list[str], inputs: str, outputs: str = "", same_as: str = "") -> Reader:
    return Reader(tuple(line), tuple(inputs.split()), tuple(outputs.split()), same_as)


def _forecast(initial: str, *more: str) -> list[str]:
    return [*forecast_from(initial), "--output", "new.nc", *more]


FROM_RUN = (
    _reader(["inspect", "runs/ring/emulator.safetensors"], RING_RUN),
    _reader(["inspect", "runs/ring", "--requirements"], RING_RUN),
    _reader([*RING_FORECAST, "--output", "new.nc"], RING_RUN, "new.nc", "forecast on a ring"),
)
TRAIN_ON = _reader(["train", "ring.yaml", "output=half", "resume=auto"], "ring.yaml ring.zarr half/ring", "half/ring",
                   "train on")  # fmt: skip
TARGETS = (
    Target("weather.nc", (*BYTES, *[mutators.netcdf] * 8), (
        _reader(["dataset", "weather.nc", "--output", "new.zarr"], WEATHER_RUN, "new.zarr"),
        _reader(_forecast("weather.nc"), WEATHER_RUN, "new.nc"),
        _reader(_forecast("weather.nc"), WEATHER_RUN, "new.nc"),
        _reader(_forecast("weather.nc", "--regrid", "bilinear"), WEATHER_RUN, "new.nc"),
        _reader(["verify", "forecast.nc", "--truth", "weather.nc", "--json"], f"{WEATHER_RUN} forecast.nc"),
    ), 3.0),
    Target("forecast.nc", (*BYTES, *[mutators.netcdf] * 8), (
        _reader(["inspect", "forecast.nc"], "forecast.nc"),
        _reader(["verify", "forecast.nc", "--truth", "weather.zarr", "--json"], f"{WEATHER_RUN} forecast.nc"),
    ), 2.0),
    Target("forecast.grib", (*BYTES, *[mutators.grib] * 6), (
        _reader(["inspect", "forecast.grib"], "forecast.grib"),
        _reader(["verify", "forecast.grib", "--truth", "weather.nc", "--json"], f"{WEATHER_RUN} forecast.grib"),
        _reader(["dataset", "forecast.grib", "--output", "new.zarr", "--forecasts-as-analyses"], "forecast.grib",
                "new.zarr"),
        _reader([*_forecast("forecast.grib"), "--forecasts-as-analyses"], f"{WEATHER_RUN} forecast.grib", "new.nc"),
    ), 2.0),
    Target("well.hdf5", (*BYTES, *[mutators.hdf5] * 8), (
        _reader(["dataset", "well.hdf5", "--output", "new.zarr"], "well.hdf5", "new.zarr"),
        _reader([*TO_NODES, "--output", "new.zarr"], "well.hdf5", "new.zarr"),
        _reader(["inspect", "well.hdf5"], "well.hdf5"),
        _reader(["dataset", "well.hdf5", "--output", "new.hdf5"], "well.hdf5", "new.hdf5"),
    ), 3.0),
    Target("weather.zarr", (mutators.dataset,), (
        _reader(["inspect", "weather.zarr"], WEATHER_RUN),
        _reader(_forecast("weather.zarr"), WEATHER_RUN, "new.nc"),
        _reader(["verify", "forecast.nc", "--truth", "weather.zarr", "--json"], f"{WEATHER_RUN} forecast.nc"),
        _reader(["train", "weather.yaml", "name=new", "--dry-run"], f"{WEATHER_RUN} weather.yaml"),
    ), 2.0),
    Target("ring.zarr", (mutators.dataset,), (
        _reader(["train", "ring.yaml", "name=new"], f"{RING_RUN} ring.yaml", "runs/new"),
        _reader([*RING_FORECAST, "--output", "new.nc"], RING_RUN, "new.nc"),
        _reader(["graph", "ring.yaml"], f"{RING_RUN} ring.yaml"),
    )),
    Target("runs/ring/emulator.safetensors", (*BYTES, *[mutators.tensors] * 8), FROM_RUN, 2.0, digest=True),
    Target("half/ring/last.ckpt", BYTES, (TRAIN_ON,), digest=True),
    Target("half/ring/metrics.csv", (mutators.table, *BYTES), (TRAIN_ON,), 0.3),
    Target("half/ring/config.yaml", (mutators.yaml_file,), (TRAIN_ON,), 0.3),
    Target("broken.nc.part", (*BYTES, *[mutators.partial] * 5), (
        _reader([*FORECAST, "--output", "broken.nc", "--resume"], f"{WEATHER_RUN} broken.nc.part", "broken.nc"),
        _reader(["inspect", "broken.nc.part"], "broken.nc.part"),
    )),
    Target("results", (mutators.json_file, mutators.json_file, *BYTES), (
        _reader(["compare", "table.yaml", "--dry-run"], "table.yaml ring.zarr runs/table results"),
        _reader(["compare", "table.yaml"], "table.yaml ring.zarr runs/table results", "runs/table"),
        _reader(["reproduce", "runs/table", "--row", "network"], "ring.zarr runs/table results"),
    ), 0.3),
    Target("runs/table/comparison.json", (mutators.json_file, *BYTES), (
        _reader(["reproduce", "runs/table", "--row", "network"], "ring.zarr runs/table results"),
    ), 0.3),
    Target("co2.csv", (mutators.table, *BYTES), (
        _reader(_forecast("weather.nc"), WEATHER_RUN, "new.nc"),
        _reader(["train", "weather.yaml", "name=new", "--dry-run"], f"{WEATHER_RUN} weather.yaml"),
    ), 0.5),
    Target("simulation.yaml", (mutators.yaml_file,), (
        _reader(["simulate", "simulation.yaml"], "simulation.yaml"),
    ), 1.5),
    Target("ring.yaml", (mutators.yaml_file,), (
        _reader(["train", "ring.yaml", "--dry-run"], f"ring.yaml {RING_RUN}"),
        _reader(["train", "ring.yaml", "training.updates=4", "output=new"], f"ring.yaml {RING_RUN}", "new"),
        _reader(["graph", "ring.yaml", "--output", "new.safetensors"], f"ring.yaml {RING_RUN}"),
    ), 2.5),
    Target("weather.yaml", (mutators.yaml_file,), (
        _reader(["train", "weather.yaml", "--dry-run"], f"weather.yaml {WEATHER_RUN}"),
    ), 1.5),
    Target("table.yaml", (mutators.yaml_file,), (
        _reader(["compare", "table.yaml", "--dry-run"], f"table.yaml {RING_RUN}"),
    )),
)  # fmt: skip


def input_cases(seed: int) -> Iterator[tuple[str, str, str, int]]:
    """Return endless cases: what is altered, by which change, who reads it, and the seed of the change."""
    draw = random.Random(f"{seed}/inputs")
    weights = [target.weight for target in TARGETS]
    while True:
        target = draw.choices(TARGETS, weights)[0]
        change, reader = draw.choice(target.mutators).__name__, draw.choice(target.readers)
        yield target.path, change, " ".join(reader.line), draw.randrange(10**9)


def run_input(
    world: Path, folder: Path, path: str, change: str, line: str, seed: int, references: Mapping[str, Reference]
) -> Verdict:
    """Alter an input, and judge the command that reads it."""
    target = next(target for target in TARGETS if target.path == path)
    reader = next(reader for reader in target.readers if " ".join(reader.line) == line)
    mutator, draw = getattr(mutators, change), random.Random(seed)
    verdict = Verdict("inputs", {"input": path, "change": change, "line": line, "seed": seed})
    inside = any(path.startswith(f"{name}/") for name in reader.inputs)
    work = set_up(world, folder, reader.inputs if inside else tuple(dict.fromkeys((*reader.inputs, path))))
    place = draw.choice(sorted((work / path).iterdir())) if path == "results" else work / path
    notes = folder / "found"
    kept = [name for name in (*reader.inputs, path) if not name.startswith(reader.outputs or ("\0",))]
    original = digests(work, [path])

    def before() -> None:
        mutator(place, draw)
        write_findings(notes, [("unaltered", "")] if digests(work, [path]) == original else [])
        (folder / "before").write_text(repr(digests(work, kept)))

    def after(code: int, text: str) -> None:
        found = read_findings(notes)
        if repr(digests(work, kept)) != (folder / "before").read_text():
            found.append(("changed input", "an input is not what it was"))
        if code in (0, 3):
            found += _judge_success(work, reader, code, text)
            if target.digest and reader.same_as:
                found += _judge_unnoticed(work, reader, references[reader.same_as])
        else:
            found += _judge_refusal(work)
        write_findings(notes, found)

    ended = Process(folder, reader.line, before=before, after=after).wait()
    verdict.count(ended)
    judge_end(verdict, ended, (0, 1, 2, 3) if reader.line[0] == "reproduce" else (0, 2, 3))
    found = read_findings(notes)
    verdict.outcome = {0: "accepted", 2: "refused", 3: "stopped"}.get(ended.code, f"code {ended.code}")
    if ("unaltered", "") in found:
        verdict.outcome = "unaltered"
        found = [item for item in found if item[0] not in ("unaltered", "wrong success")]
    verdict.defects += found
    return verdict


def _judge_refusal(work: Path) -> list[tuple[str, str]]:
    new = [path for path in work.glob("new*") if not is_temporary(path.relative_to(work)) and path.is_file()]
    return [("half file", f"{path.name} was left by a refusal") for path in new]


def _judge_success(work: Path, reader: Reader, code: int, text: str) -> list[tuple[str, str]]:
    from emulator.data.forecast_file import read_forecast

    found = []
    for output in reader.outputs:
        if not (work / output).exists():
            if code != 3 or f"{output} was not written" not in text:  # where every member was stopped at once
                found.append(("wrong success", f"{output} is missing"))
            continue
        try:
            content(work / output) if (work / output).suffix else contents(work / output)
        except NotWholeError as error:
            found.append(("wrong success", f"{output} is not whole: {error}"))
            continue
        if output.endswith(".nc"):
            forecast = read_forecast(work / output)
            cases, leads = forecast.values.shape[0], forecast.values.shape[2]
            if leads != 4:
                found.append(("wrong success", f"{cases} cases of {leads} steps were written"))
            if code == 0 and not np.isfinite(forecast.values).all() and not re.search(SAID, text, re.I):
                found.append(("wrong success", "values that are no numbers were written, and nothing said"))
        elif output.endswith(".zarr"):
            import zarr

            values = zarr.open(str(work / output), "r")["data"][...]
            empty = ~np.isfinite(values).any(axis=(0, 2, 3))
            if empty.any() and not re.search(SAID, text, re.I):
                found.append(("wrong success", "a variable without a number was written, and nothing said"))
    return found


def _judge_unnoticed(work: Path, reader: Reader, reference: Reference) -> list[tuple[str, str]]:
    """An altered file that carries a digest was read: harmless only where the result is that of the file as it was."""
    try:
        says = contents(work)
    except NotWholeError:
        return []  # judged already
    return [
        ("wrong success", f"{name} differs, from an altered file that carries a digest")
        for name, digest in reference.says.items()
        if name.startswith(reader.outputs) and digest and says.get(name, digest) != digest
    ]
