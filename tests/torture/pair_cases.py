"""Two commands at once: one is stopped at a file operation, the other runs to its end, the first goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.torture.commands import COMMANDS
from tests.torture.fault_cases import set_up
from tests.torture.faults import EVERYTHING, Fault, new_order
from tests.torture.judge import Reference, Verdict, judge_end, read_findings, write_findings
from tests.torture.process import Process
from tests.torture.whole import NotWholeError, contents, listing

# The first is stopped; the second writes the same output, replaces what the first reads, or reads what it writes.
PAIRS = (
    ("simulate", "simulate"),
    ("simulate over another", "simulate over another"),
    ("simulate over another", "inspect the ring"),
    ("simulate over another", "graph"),
    ("dataset", "dataset"),
    ("dataset over another", "dataset over another"),
    ("train", "train"),
    ("train on", "train on"),
    ("forecast", "forecast"),
    ("forecast over another", "forecast over another"),
    ("forecast on", "forecast on"),
    ("forecast in GRIB", "forecast in GRIB"),
    ("graph", "graph"),
    ("report", "report"),
    ("plot", "plot"),
    ("compare on", "compare on"),
    ("copy a configuration", "copy a configuration"),
)
READERS = {"inspect the ring": ("inspect", "ring.zarr")}


def pair_cases(references: Mapping[str, Reference], seed: int) -> Iterator[tuple[str, str, int]]:
    """Return endless pairs, and the operation at which the first is stopped."""
    draw = random.Random(f"{seed}/pairs")
    while True:
        first, second = draw.choice(PAIRS)
        yield first, second, draw.randrange(sum(references[first].operations.values()))


def run_pair(
    world: Path, folder: Path, first: str, second: str, at: int, references: Mapping[str, Reference]
) -> Verdict:
    """Each of the two ends well or is refused; what stands there at the end is whole, and the result of one of them."""
    one = COMMANDS[first]
    other = READERS.get(second) or COMMANDS[second].arguments
    verdict = Verdict("pairs", {"first": first, "second": second, "at": at})
    needed = (*one.inputs, *(COMMANDS[second].inputs if second in COMMANDS else ()))
    work = set_up(world, folder, tuple({name.rpartition("=")[2]: name for name in reversed(needed)}.values()))
    order = new_order(Fault("stop", EVERYTHING, at), folder)
    slow = Process(folder, one.arguments, order, name="first")
    stopped = slow.stopped()
    verdict.case["struck"] = order.place.decode(errors="replace").replace(str(folder), "")
    quick = Process(folder, other, name="second").wait()
    verdict.count(quick)
    judge_end(verdict, quick)
    said = quick.text
    if stopped:
        slow.go_on()
    ended = slow.wait()
    verdict.count(ended)
    judge_end(verdict, ended)
    verdict.text = f"{said}\n--- the first ---\n{ended.text}"[-3000:]
    verdict.outcome = f"{quick.code} while stopped, then {ended.code}"
    if 0 not in (quick.code, ended.code):
        verdict.add("not recovered", f"neither succeeded: {quick.text[-200:]} / {ended.text[-200:]}")
        return verdict
    notes = folder / "found"
    reference = references[first]

    def judge(code: int, text: str) -> None:
        try:
            says = contents(work)
        except NotWholeError as error:
            write_findings(notes, [("half file", str(error))])
            return
        found = [("wrong success", f"{name} is not what one of them writes") for name in one.outputs
                 if says.get(name, "") != reference.says.get(name, "")]  # fmt: skip
        expected = {*reference.files, *(references[second].files if second in references else ())}
        if ended.code == quick.code == 0 and (more := set(listing(work)) - expected):
            found.append(("left over", ", ".join(sorted(more)[:5])))
        write_findings(notes, found)

    verdict.count(Process(folder, ("--help",), name="judged", after=judge).wait())
    verdict.defects += read_findings(notes)
    return verdict
