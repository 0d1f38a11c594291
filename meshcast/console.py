"""What a command says: notices, progress, results for people and for machines."""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from graphs.errors import printable
from meshcast.json_log import json_log

BEYOND = 4  # exit code of --strict where all is done, but outside of what an emulator was trained on
PARTIAL = 3  # exit code where the work is done but for a part: a forecast that the guard stopped, a row that failed
SECONDS_BETWEEN_LINES = 10.0  # of progress, where standard error is no terminal

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def quieten() -> None:
    """Have a further process of a command that runs in several say nothing but why it fails."""
    err.quiet = out.quiet = True


def complain(text: str, **facts: Any) -> None:
    """Say why a command fails, in every process that does."""
    err.quiet = False
    say(text, **facts)


def say(text: str, **facts: Any) -> None:
    """A notice, on standard error, so that --json leaves standard output to machines.

    Lines after the first are set in, or items of a list: no name with a new line in it reads as a notice of ours.

    facts: what a log in JSON says of it beside the text: its event, the path that was written, an exit code.
    """
    if err.quiet:
        return
    text = printable(text)
    if log := json_log():
        log.say(text, **facts)
        return
    if re.search(r"\n(?! |- |\n|$)", text):
        text = text.replace("\n", "\n  ")  # all of them: a configuration to paste keeps its shape
    err.print(text, markup=False)


def show(text: str) -> None:
    """A result for people, on standard output."""
    out.print(printable(text), markup=False)


def print_json(result: Any) -> None:
    """A result for machines, on standard output; what is not finite becomes null, which is all JSON has for it."""
    sys.stdout.write(json.dumps(_finite(result), indent=2, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a result for people; columns that a narrow terminal has no room for follow below, beside the first again.

    Text wraps between words, never within one.
    """
    texts = [[_wrapped(printable(text)) for text in line] for line in (columns, *rows)]
    widths = [
        max(cell_len(part) for text in column for part in text.split("\n")) for column in zip(*texts, strict=True)
    ]
    for number, block in enumerate(_blocks(widths, out.width)):
        table = Table(title=escape(printable(title)) if number == 0 else None, title_justify="left")
        for place in block:
            table.add_column(escape(texts[0][place]), no_wrap=True)  # [K] is a unit, no style
        for row in texts[1:]:
            table.add_row(*(escape(row[place]) for place in block))
        out.print(table)


def _wrapped(text: str) -> str:
    """Lines of at most half the terminal, of whole words."""
    return "\n".join(textwrap.wrap(text, out.width // 2, break_long_words=False, break_on_hyphens=False))


def _blocks(widths: list[int], room: int) -> list[list[int]]:
    """The columns of each table that fits into the room, the first in all; three more are border and space."""
    blocks = [[0]]
    for place in range(1, len(widths)):
        if len(blocks[-1]) > 1 and 1 + sum(widths[p] + 3 for p in (*blocks[-1], place)) > room:
            blocks.append([0])
        blocks[-1].append(place)
    return blocks


def counted(count: int, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; the callable sets how much is done.

    Where standard error is no terminal, a line now and then: what runs at night leaves a log.
    """
    if log := json_log():
        with log.progress(label, total) as show:
            yield show
        return
    if not err.is_terminal:
        yield _lines(label, total)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(escape(printable(label)), total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(label: str, total: int) -> Callable[[int], None]:
    start = said = time.monotonic()

    def show(done: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= SECONDS_BETWEEN_LINES and done < total:
            said = now
            left = f", about {(now - start) / done * (total - done):.0f} s to go" if done else ""
            say(f"{label}: {done} of {total}{left}")

    return show


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """Return `name=value` texts of a repeated option as a dictionary."""
    from graphs.errors import MeshcastError

    for text in texts:
        if "=" not in text:
            raise MeshcastError(f"{option} takes name=value, but got {text!r}.")
    return {name: value for name, value in (text.split("=", 1) for text in texts)}


def amounts(texts: list[str], option: str) -> dict[str, float]:
    """Return `name=number` texts of a repeated option as a dictionary."""
    from graphs.errors import MeshcastError

    found = {}
    for name, text in pairs(texts, option).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise MeshcastError(f"{option} takes name=number, but got {name}={text!r}.") from None
    return found


def listed(text: str | None) -> tuple[str, ...]:
    """Return names between commas; none of nothing."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def box(text: str | None, option: str) -> tuple[float, float, float, float] | None:
    """Return `NORTH/WEST/SOUTH/EAST`, with slashes or commas, as numbers [degrees]."""
    from graphs.errors import MeshcastError

    if text is None:
        return None
    try:
        north, west, south, east = (float(number) for number in text.replace("/", ",").split(","))
    except ValueError:
        raise MeshcastError(f"{option} takes NORTH/WEST/SOUTH/EAST, e.g. 60/-10/50/2, but got {text!r}.") from None
    return north, west, south, east
