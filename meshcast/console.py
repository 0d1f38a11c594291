"""What a command says: notices, progress, results for people and for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A notice, on standard error, so that --json leaves standard output to machines."""
    err.print(text, markup=False)


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
    """A result for people."""
    table = Table(title=escape(title), title_justify="left")
    for column, cells in zip(columns, zip(*rows, strict=True) if rows else ((),) * len(columns), strict=True):
        longest = max(map(len, " ".join((column, *cells)).split()), default=0)  # no word is broken
        table.add_column(escape(column), overflow="fold", min_width=longest)  # [K] is a unit, no style
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def counted(count: int, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; the callable sets how much is done."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """Return `name=value` texts of a repeated option as a dictionary."""
    from graphs.errors import MeshcastError

    for text in texts:
        if "=" not in text:
            raise MeshcastError(f"{option} takes name=value, but got {text!r}.")
    return {name: value for name, value in (text.split("=", 1) for text in texts)}
