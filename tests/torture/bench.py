"""The bench: families of cases in a seeded order, shared among worker processes, within a budget of time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.commands import COMMANDS
from tests.torture.fault_cases import fault_cases, measure, run_fault
from tests.torture.faults import FAULTS, KILLS
from tests.torture.input_cases import input_cases, run_input
from tests.torture.judge import Reference, Verdict
from tests.torture.line_cases import line_cases, run_line
from tests.torture.pair_cases import pair_cases, run_pair
from tests.torture.worlds import make_world

QUOTAS = {"faults": 2000, "inputs": 4600, "lines": 400, "kills": 200, "pairs": 50}  # half an hour on two idle cores
CORPUS = Path(__file__).with_name("corpus.jsonl")
Run = Callable[[Path], Verdict]


@dataclass
class Counts:
    """What all cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    defects: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    largest: str = ""  # the case that took the most memory
    found: list[dict[str, Any]] = field(default_factory=list)

    def add(self, verdict: dict[str, Any]) -> None:
        """Take a verdict, as JSON has it."""
        family = verdict["family"]
        self.cases[family] += 1
        self.seconds[family] += verdict["seconds"]
        self.outcomes.setdefault(family, Counter())[verdict["outcome"]] += 1
        if verdict["peak"] > self.peak:
            self.peak, self.largest = verdict["peak"], f"{family} {json.dumps(verdict['case'])}"
        self.defects.update({category for category, _ in verdict["defects"]})
        if verdict["defects"]:
            self.found.append(verdict)

    def table(self) -> str:
        """Return the counts as text, a line a family."""
        lines = [f"{'family':8} {'cases':>6} {'a second':>8}  outcomes"]
        for family, count in self.cases.items():
            rate = count / max(self.seconds[family], 1e-9)
            outcomes = ", ".join(f"{name} {number}" for name, number in self.outcomes[family].most_common())
            lines.append(f"{family:8} {count:6} {rate:8.2f}  {outcomes}")
        lines.append(
            f"memory: at most {self.peak / 2**30:.2f} GiB, that of the preloaded process included, by {self.largest}"
        )
        defects = ", ".join(f"{name} {count}" for name, count in self.defects.most_common())
        return "\n".join([*lines, f"defects: {len(self.found)} cases" + (f" ({defects})" if defects else "")])


class Bench:
    """Cases on small inputs made once, each in forks of this process.

    minutes: by the clock, after the inputs are made; quotas are their share of half an hour, and cases go on until the
        time is over. families: which of QUOTAS to run; all by default.
    """

    def __init__(self, seed: int, minutes: float, workers: int, families: list[str] | None = None) -> None:
        self.seed, self.minutes, self.workers = seed, minutes, workers
        self.families = families or list(QUOTAS)
        shared = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="torture-", dir=shared if shared.is_dir() else None)).resolve()
        self.world = self.folder / "world"
        self.references: dict[str, Reference] = {}

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make the inputs, warm this process, and run every command undisturbed."""
        make_world(self.world)
        for name, command in COMMANDS.items():
            self.references[name] = measure(self.world, self.folder / "measured", command)
            shutil.rmtree(self.folder / "measured")
        operations = sum(sum(reference.operations.values()) for reference in self.references.values())
        say(f"{len(COMMANDS)} commands with {operations} operations on files")

    def cases(self) -> Iterator[Run]:
        """Return the corpus, then cases of all families in turn, each at every time near its share by the quotas."""
        if len(self.families) > 1:
            yield from map(self.of_plain, corpus())
        sources, taken = {family: self._family(family) for family in self.families}, Counter[str]()
        while sources:
            family = min(sources, key=lambda name: (taken[name] + 0.5) / QUOTAS[name])
            run = next(sources[family], None)
            taken[family] += 1
            if run is None:
                del sources[family]
            else:
                yield run

    def _family(self, family: str) -> Iterator[Run]:
        references, seed = self.references, self.seed
        match family:
            case "faults":
                return (self.fault("faults", *case) for case in fault_cases(references, seed, FAULTS))
            case "kills":
                return (self.fault("kills", *case) for case in fault_cases(references, seed, KILLS))
            case "inputs":
                return (self.input(*case) for case in input_cases(seed))
            case "lines":
                return map(self.line, line_cases(seed))
            case "pairs":
                return (self.pair(*case) for case in pair_cases(references, seed))
        raise ValueError(f"no family {family}")

    def fault(self, family: str, command: str, fault: str, at: int) -> Run:
        """Return a command into a fault or a kill at an operation."""
        reference = self.references[command]
        return lambda folder: run_fault(self.world, folder, family, command, fault, at, reference)

    def input(self, path: str, change: str, line: str, seed: int) -> Run:
        """Return a reader of an altered input."""
        return lambda folder: run_input(self.world, folder, path, change, line, seed, self.references)

    def line(self, line: list[str]) -> Run:
        """Return a command line."""
        return lambda folder: run_line(self.world, folder, line)

    def pair(self, first: str, second: str, at: int) -> Run:
        """Return two commands at once."""
        return lambda folder: run_pair(self.world, folder, first, second, at, self.references)

    def of_plain(self, found: dict[str, Any]) -> Run:
        """Return the case of a verdict or of a line of the corpus."""
        case = found["case"]
        match found["family"]:
            case "faults" | "kills" as family:
                return self.fault(family, case["command"], case["fault"], case["at"])
            case "inputs":
                return self.input(case["input"], case["change"], case["line"], case["seed"])
            case "lines":
                return self.line(case["line"])
            case "pairs":
                return self.pair(case["first"], case["second"], case["at"])
        raise ValueError(f"no family {found['family']}")

    def run(self, runs: Iterator[Run], say: Callable[[str], None]) -> Counts:
        """Run cases until there are no more or the time is over."""
        until, counts, told = time.monotonic() + 60 * self.minutes, Counts(), time.monotonic()
        ready, gone = os.pipe(), 0
        for number in range(self.workers):
            if os.fork() == 0:
                os.close(ready[0])
                self._work(number, runs, until, ready[1])
        os.close(ready[1])
        with os.fdopen(ready[0], encoding="utf-8") as lines:
            for line in lines:
                counts.add(verdict := json.loads(line))
                for category, detail in verdict["defects"]:
                    say(f"{category}: {detail.strip()[:300]}\n    {verdict['family']} {json.dumps(verdict['case'])}")
                if time.monotonic() - told > 30:
                    told = time.monotonic()
                    say(counts.table())
        for _ in range(self.workers):
            _, status = os.wait()
            gone += status != 0
        if gone:
            counts.found.append({"family": "bench", "case": {}, "defects": [("judge", f"{gone} workers ended early")]})
        return counts

    def close(self) -> None:
        """Remove all inputs and cases."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _work(self, number: int, runs: Iterator[Run], until: float, results: int) -> None:
        """Run every `workers`-th case in this process, which ends with it."""
        code = 1
        try:
            for place, run in enumerate(runs):
                if time.monotonic() > until:
                    break
                if place % self.workers == number:
                    verdict = asdict(run(self.folder / f"case-{number}"))
                    if not verdict["defects"]:
                        verdict["text"] = ""
                    line = json.dumps(verdict, default=str) + "\n"
                    os.write(results, line.encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def corpus() -> list[dict[str, Any]]:
    """Return the cases that once found a defect."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in CORPUS.read_text().splitlines() if line.strip()]
    return []


__all__ = ["Bench", "Counts", "corpus"]
