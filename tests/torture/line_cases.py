"""Command lines of options and values that nobody meant."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.meshcast.conftest import weather_forecast
from tests.torture.fault_cases import set_up
from tests.torture.judge import Verdict, digests, judge_end, read_findings, write_findings
from tests.torture.mutators import NASTY
from tests.torture.process import Process
from tests.torture.whole import NotWholeError, contents

INPUTS = ("weather.nc", "weather.zarr", "ring.zarr", "forecast.nc", "forecast.grib", "ring.yaml", "simulation.yaml",
          "table.yaml", "co2.csv", "runs/ring", "runs/weather", "broken.nc.part")  # fmt: skip
PLACES = (*INPUTS, "gone.nc", ".", "runs", "", "-", "new.nc", "new.zarr", "new.grib", "new", "/proc/nowhere", "a\nb.nc",
          "weather.nc/x", "\x1b[31m.nc", "[red].nc", "é" * 300)  # fmt: skip
TEXTS = (*(str(value) for value in NASTY if "\0" not in str(value)), "0:1", "2:1", "-1:5", "a=b", "=", "t2m=2t", "2t=u",
         "u=K", "latest", "all", "2019-03-01", "2019-03-01/2019-03-02/6h", "4h", "4 steps", "1.5h",
         "99999999999999999999h", "cpu", "cuda:9", "bilinear", "msl", "2t")  # fmt: skip
OPTIONS = {
    "simulate": "--overwrite --threads --json",
    "dataset": "--output --rename --units --select --frequency --attribute --overwrite --json",
    "forecast": "--initial --lead-time --output --init-times --trajectories --members --perturb --seed --forcing "
    "--boundary --rename --units --regrid --no-guard --device --threads --overwrite --resume --json",
    "verify": "--truth --train --variable --json",
    "inspect": "--json --requirements --lineage",
    "graph": "--output --json",
    "configs": "",
    "train": "--dry-run --json",
    "compare": "--dry-run --json",
}
FLAGS = ("--overwrite", "--json", "--no-guard", "--resume", "--requirements", "--lineage", "--dry-run")
SOUND = {
    "simulate": ["simulate", "simulation.yaml"],
    "dataset": ["dataset", "weather.nc", "--output", "new.zarr"],
    "forecast": [*weather_forecast("4h"), "--output", "new.nc"],
    "verify": ["verify", "forecast.nc", "--truth", "weather.zarr"],
    "inspect": ["inspect", "weather.zarr"],
    "graph": ["graph", "ring.yaml"],
    "configs": ["configs", "copy", "ring-advection", "mine.yaml"],
    "train": ["train", "ring.yaml", "--dry-run"],
    "compare": ["compare", "table.yaml", "--dry-run"],
}


def line_cases(seed: int) -> Iterator[list[str]]:
    """Return endless command lines."""
    draw = random.Random(f"{seed}/lines")
    while True:
        yield command_line(draw)


def command_line(draw: random.Random) -> list[str]:
    """Return a sound command line with some of its words changed, and options with values of all kinds."""
    command = draw.choice(sorted(SOUND))
    line = list(SOUND[command])
    for _ in range(draw.randint(1, 3)):
        options = OPTIONS[command].split()
        kind = draw.randrange(4)
        if kind == 0:
            line[draw.randrange(1, len(line))] = draw.choice((*PLACES, *TEXTS))
        elif kind == 1 and len(line) > 2:
            del line[draw.randrange(1, len(line))]
        elif options:
            option = draw.choice(options)
            line += [option] if option in FLAGS else [option, draw.choice(TEXTS if draw.random() < 0.6 else PLACES)]
    return line


def run_line(world: Path, folder: Path, line: list[str]) -> Verdict:
    """Run a command line, and judge how it ends and what it leaves."""
    verdict = Verdict("lines", {"line": line})
    work = set_up(world, folder, INPUTS)
    before = digests(work, INPUTS)
    notes = folder / "found"

    def after(code: int, text: str) -> None:
        try:
            contents(work)
            found = []
        except NotWholeError as error:
            found = [("half file" if code else "wrong success", str(error))]
        changed = dict(before.items() - digests(work, INPUTS).items())
        if changed and not {"--overwrite", "--resume"} & set(line):
            found.append(("changed input", ", ".join(sorted(changed)[:3])))
        write_findings(notes, found)

    ended = Process(folder, line, after=after).wait()
    verdict.count(ended)
    judge_end(verdict, ended)
    verdict.outcome = {0: "accepted", 2: "refused", 3: "stopped"}.get(ended.code, f"code {ended.code}")
    verdict.defects += read_findings(notes)
    return verdict
