"""What must hold after every case, and the verdict of one.

A command ends in exit code 0, or 3 where the guard stopped a forecast, or 2 with one message: what was expected, what
came, what to do. Whatever befell it,

- no traceback, no noise of a library, no signal that was not sent (`traceback`, `noise`, `crash`, `exit code`), and a
  message that gives the true reason where the disk was full (`reason`);
- no file under a final name that does not open whole (`half file`); what stood there before stands there still, or what
  replaces it (`lost`); inputs are as they were (`changed input`);
- it ends (`hang`) and takes at most 2 GiB more than the preloaded process (`memory`);
- the same command again, or what its message advises, ends well, with the same result bit for bit, and cleans up what
  was left (`not recovered`, `left over`).

A success is wrong (`wrong success`) where the output differs from that of an undisturbed run although every input was
as it should be or carries a digest, where an output that is reported is not there or not whole, where values that are
no numbers are written from inputs that have none and nothing is said, and where fewer cases or steps are written than
were asked for. Values altered in a file without a digest (a flipped bit of a NetCDF field) cannot be known to be wrong.

One crash is counted apart, as an outcome: the NetCDF library ends the process where the disk fails under a file it has
open. Everything else must hold after it as after a kill.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.process import JUDGE_FAILED, Ended
from tests.torture.whole import NotWholeError, content, contents, listing

NOISE = re.compile(
    r"ECCODES (ERROR|WARNING)|HDF5-DIAG|\w*Warning:|panicked at|Exception ignored|terminate called|^\s*File \"", re.M
)
OURS = re.compile(r'File ".*?/((?:graphs|emulator|inference|training|meshcast)/[^"]*)", line (\d+)')
# HDF5 ends the process where a file that was open fails to be read or closed: netCDF-C 4.10 frees what it has freed.
KNOWN_CRASH = re.compile(
    r"(?:Segmentation fault|Aborted).*?most recent call first\):\n(  File .*\n)?.*?(xarray/backends|netCDF4)", re.S
)
FULL = re.compile(r"full|space|room|quota", re.I)


@dataclass
class Verdict:
    """What a case came to.

    case: all that makes it again, as JSON has it; outcome: `done`, `refused`, `killed`, `stopped` ...
    defects: category and detail of all that should not be.
    """

    family: str
    case: dict[str, Any]
    outcome: str = ""
    defects: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0
    text: str = ""

    def add(self, category: str, detail: str) -> None:
        self.defects.append((category, detail[:600]))

    def count(self, ended: Ended) -> None:
        """Take a process into account: what it cost, and whether it came to an end of its own."""
        self.seconds += ended.seconds
        self.peak = max(self.peak, ended.peak)
        self.text = ended.text.partition("Extension modules:")[0][-3000:]
        if ended.hung:
            self.add("hang", ended.text[-600:])
        if ended.code == JUDGE_FAILED:
            self.add("judge", ended.text[-600:])


def judge_end(verdict: Verdict, ended: Ended, codes: Sequence[int] = (0, 2, 3), killed: bool = False) -> None:
    """Judge how a process ended and what it said."""
    if ended.hung or ended.code == JUDGE_FAILED:
        return
    if "Traceback (most recent call last)" in ended.text or re.search(r"^MemoryError", ended.text, re.M):
        lines = [line for line in ended.text.splitlines() if line.strip()]
        places = OURS.findall(ended.text)
        verdict.add("traceback", f"{lines[-1]} at {':'.join(places[-1]) if places else '?'}")
    elif ended.code < 0 and not killed and KNOWN_CRASH.search(ended.text):
        verdict.outcome = "NetCDF's crash"
    elif ended.code < 0 and not killed:
        verdict.add("crash", f"signal {-ended.code}: {verdict.text[-500:]}")
    elif ended.code >= 0 and ended.code not in codes:
        verdict.add("exit code", f"{ended.code}: {ended.text[-300:]}")
    elif ended.code == 2 and not re.search(r"Error|Usage:", ended.text):
        verdict.add("exit code", f"2 without a message: {ended.text[-300:]}")
    elif noise := NOISE.search(ended.text):
        verdict.add("noise", ended.text[max(noise.start() - 100, 0) : noise.start() + 300])


def digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return a digest of the bytes of every file below `names`, which are of `folder`."""
    found = {}
    for name in names:
        place = folder / name
        for path in [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file()):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: the files it leaves, what they say, what it cost, and its operations on files by kind."""

    files: list[str]
    says: dict[str, str]
    seconds: float
    operations: dict[str, int]


def judge_broken_off(
    work: Path, outputs: Sequence[str], prior: dict[str, str], reference: Reference
) -> list[tuple[str, str]]:
    """Judge what a command that did not succeed has left, before anything else is run."""
    found: list[tuple[str, str]] = []
    try:
        says = contents(work)
    except NotWholeError as error:
        return [("half file", str(error))]
    for name, digest in prior.items():
        if name in says and says[name] not in (digest, reference.says.get(name)):
            found.append(("lost", f"{name} holds neither what it held nor what replaces it"))
        elif name not in says:
            found.append(("lost", f"{name} is gone"))
    for name in outputs:
        if name in says and name not in prior and says[name] != reference.says.get(name):
            found.append(("half file", f"{name} is whole, but not what an undisturbed run writes"))
    return found


def judge_result(work: Path, outputs: Sequence[str], reference: Reference) -> list[tuple[str, str]]:
    """Judge what a command that succeeded has written."""
    found: list[tuple[str, str]] = []
    try:
        says = contents(work)
    except NotWholeError as error:
        return [("wrong success", f"written, but not whole: {error}")]
    for name, digest in reference.says.items():
        if name not in says:
            found.append(("wrong success", f"{name} is missing"))
        elif says[name] != digest and name.startswith(tuple(outputs)):
            found.append(("wrong success", f"{name} differs from that of an undisturbed run"))
    if more := set(listing(work)) - set(reference.files):
        found.append(("left over", ", ".join(sorted(more)[:5])))
    return found


def write_findings(path: Path, found: list[tuple[str, str]]) -> None:
    """Keep what a process found for the one that waits for it."""
    path.write_text(json.dumps(found))


def read_findings(path: Path) -> list[tuple[str, str]]:
    """Return what a process found, nothing where it did not come so far."""
    return [tuple(item) for item in json.loads(path.read_text())] if path.is_file() else []


__all__ = ["Reference", "Verdict", "content", "digests", "judge_broken_off", "judge_end", "judge_result",
           "read_findings", "write_findings"]  # fmt: skip
