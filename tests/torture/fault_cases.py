"""Faults and kills at every file operation of every command, as SQLite's tests inject them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.torture.commands import COMMANDS, Command
from tests.torture.faults import EVERYTHING, KILLS, Fault, named_fault, new_order
from tests.torture.judge import (
    FULL,
    Reference,
    Verdict,
    digests,
    judge_broken_off,
    judge_end,
    judge_result,
    read_findings,
    write_findings,
)
from tests.torture.process import Ended, Process
from tests.torture.whole import contents, is_temporary, listing
from tests.torture.worlds import copy

CODES = {"reproduce": (0, 1, 2, 3)}  # 1: the score fell outside its interval


def set_up(world: Path, folder: Path, inputs: tuple[str, ...]) -> Path:
    """Return the working folder of a case, with its inputs."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    (folder / "tmp").mkdir()
    copy(world, folder / "work", inputs)
    return folder / "work"


def measure(world: Path, folder: Path, command: Command) -> Reference:
    """Run a command undisturbed, and count its operations on files."""
    work = set_up(world, folder, command.inputs)
    order = new_order(Fault("count", EVERYTHING), folder)
    ended = Process(folder, command.arguments, order).wait()
    assert ended.code in CODES.get(command.name, (0,)), (command.name, ended.code, ended.text)
    return Reference(listing(work), contents(work), ended.seconds, order.operations())


def fault_cases(references: Mapping[str, Reference], seed: int, names: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    """Return every (command, fault, operation) of `names`, in an order drawn from the seed; cheap commands come sooner.

    Weighted sampling without replacement (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).
    """
    draw = random.Random(f"{seed}/{sorted(names)}")
    cases = [
        (command, name, at)
        for command, reference in references.items()
        for name in names
        for at in range(sum(reference.operations[kind] for kind in named_fault(name, 0).kinds))
    ]
    total = {name: sum(reference.operations.values()) for name, reference in references.items()}
    weights = {name: 1 / (reference.seconds + 0.1) / total[name] ** 0.5 for name, reference in references.items()}
    return iter(sorted(cases, key=lambda case: draw.random() ** (1 / weights[case[0]]), reverse=True))


def run_fault(world: Path, folder: Path, family: str, name: str, of: str, at: int, reference: Reference) -> Verdict:
    """Run a command into a fault, judge what it left, run it again undisturbed and judge the result."""
    command, fault = COMMANDS[name], named_fault(of, at)
    verdict = Verdict(family, {"command": name, "fault": of, "at": at})
    work = set_up(world, folder, command.inputs)
    kept = [here for _, _, here in (item.rpartition("=") for item in command.inputs) if not _is_output(here, command)]
    before = digests(work, kept)
    there = contents(work)
    prior = {output: there[output] for output in command.outputs if output in there}
    order = new_order(fault, folder)
    ended = Process(folder, command.arguments, order).wait()
    verdict.count(ended)
    killed = fault.mode in KILLS
    place = order.place.decode(errors="replace").replace(str(folder), "").replace(str(ended), "")
    verdict.case["struck"] = place if order.fired else ""
    verdict.outcome = _outcome(ended, bool(order.fired), killed)
    judge_end(verdict, ended, CODES.get(name, (0, 2, 3)), killed)
    if not any(f"/{name}" in place for name in kept):  # no disk is full for a file that is read
        _judge_reason(verdict, ended, fault)
    if not killed and (rest := list((folder / "tmp").iterdir())):
        verdict.add("left over", f"in TMPDIR: {', '.join(path.name for path in rest[:3])}")
    if ended.hung:
        return verdict
    notes = folder / "found"
    if ended.code == 0:
        judge = Process(folder, ("--help",), name="judged", after=lambda *_: write_findings(
            notes, judge_result(work, command.outputs, reference)))  # fmt: skip
        _take(verdict, judge.wait(), notes)
        if order.fired:  # what could not be removed then is removed by the next run
            verdict.defects = [found for found in verdict.defects if not _is_next_to_clean(*found)]
    else:
        _again(verdict, folder, command, prior, reference, notes)
    if changed := before.items() - digests(work, kept).items():
        verdict.add("changed input", ", ".join(sorted(name for name, _ in changed)[:3]))
    return verdict


def _again(
    verdict: Verdict, folder: Path, command: Command, prior: dict[str, str], reference: Reference, notes: Path
) -> None:
    """Judge what is left, then do what a user does: start again, and follow the message where that is refused."""
    work = folder / "work"
    found: list[tuple[str, str]] = []

    def before() -> None:
        found.extend(judge_broken_off(work, command.outputs, prior, reference))
        write_findings(notes, found)

    def after(code: int, text: str) -> None:
        if code in (0, 3):
            write_findings(notes, found + judge_result(work, command.outputs, reference))

    arguments = command.arguments
    ended = Process(folder, arguments, name="again", before=before, after=after).wait()
    _take(verdict, ended, notes)
    for _ in range(2):
        options = ("resume=auto", "--resume", *command.fresh)
        advised = [option for option in options if option in ended.text and option not in arguments]
        if ended.code != 2 or not advised:
            break
        found.clear()
        arguments = (*arguments, advised[0])
        ended = Process(folder, arguments, name="again", after=after).wait()
        _take(verdict, ended, notes)
    judge_end(verdict, ended, (0, 1, 2, 3))
    if ended.code == 2 and "exists already" in ended.text:  # it was whole when the fault came
        found.clear()
        ended = Process(folder, ("--help",), name="judged", after=after).wait()
        _take(verdict, ended, notes)
    if ended.code not in CODES.get(command.name, (0,)):
        verdict.add("not recovered", f"exit code {ended.code}: {ended.text[-400:]}")


def _take(verdict: Verdict, ended: Ended, notes: Path) -> None:
    text = verdict.text
    verdict.count(ended)
    verdict.text = f"{text}\n--- then ---\n{verdict.text}"
    verdict.defects += read_findings(notes)
    notes.unlink(missing_ok=True)


def _judge_reason(verdict: Verdict, ended: Ended, fault: Fault) -> None:
    full = fault.error in ("ENOSPC", "EDQUOT")
    if ended.code == 2 and verdict.case["struck"] and full != bool(FULL.search(ended.text)) and (
        full or "disk is full" in ended.text
    ):  # fmt: skip
        verdict.add("reason", f"{fault.error} was said to be: {ended.text[-400:]}")


def _is_next_to_clean(category: str, names: str) -> bool:
    return category == "left over" and all(is_temporary(Path(name)) for name in names.split(", "))


def _outcome(ended: Ended, fired: bool, killed: bool) -> str:
    if killed:
        return "killed" if ended.code == -9 else "not reached"
    if ended.code == 0:
        return "done all the same" if fired else "not reached"
    return {2: "refused", 3: "stopped"}.get(ended.code, f"code {ended.code}")


def _is_output(name: str, command: Command) -> bool:
    """Return whether an input is replaced or used up, as what was broken off before is."""
    return (
        name.endswith(".part")
        or name in command.outputs
        or any(name.startswith(f"{output}/") for output in command.outputs)
    )
