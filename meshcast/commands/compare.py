"""`meshcast compare`: several emulators on one split, one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.ranking import Row


def compare(
    config: Annotated[Path, typer.Argument(help="YAML of a comparison, or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. training.updates=500 'seeds=[0, 1, 2]'.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with EMULATORS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Train or load several emulators, forecast the same starts of the test part, rank them in one report.

    Started again, it skips the runs that are finished and continues the one that was interrupted.

    Example: meshcast compare mine.yaml training.updates=500 --plugin mine.py
    """
    import shlex
    import sys
    from contextlib import redirect_stdout

    from emulator.configuration import load
    from emulator.plugins import load_plugins
    from meshcast.console import print_json, print_table, say
    from meshcast.shipped import config_path
    from training.compare import CompareConfig, to_plain
    from training.compare import compare as run_comparison

    load_plugins(plugin or [])
    settings = load(CompareConfig, config_path(config), overrides or [])
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        comparison = run_comparison(settings, say=say, command=shlex.join(["meshcast", *sys.argv[1:]]))
    if as_json:
        print_json(to_plain(settings, comparison))
    else:
        print_table(
            f"{settings.name}: {settings.validation.score} over {settings.forecast.steps} steps, lower is better",
            ["", "emulator", "score [95 %]", f"minus {comparison.reference} [95 %]", "weights", "seconds"],
            [_cells(number, row) for number, row in enumerate(comparison.rows, 1)],
        )
    for sentence in comparison.verification.left_out:
        say(f"Not verified: {sentence}.")
    say(f"Wrote {comparison.folder / 'report.html'}.")


def _cells(number: int, row: Row) -> list[str]:
    status = "" if row.status in ("done", "loaded") else f" {row.status}: {row.reason}"
    return [
        str(number),
        row.label + status,
        _estimate(row.score, row.interval, ""),
        _estimate(row.difference, row.difference_interval, "+"),
        " + ".join(str(count) + note for count, note in _weights(row.parameters)) or "0",
        "" if row.result is None or row.result.seconds is None else f"{row.result.seconds:.0f}",
    ]


def _weights(parameters: dict[str, int]) -> list[tuple[int, str]]:
    notes = (("trainable", ""), ("fixed", " fixed"))
    return [(parameters[kind], note) for kind, note in notes if parameters.get(kind)]


def _estimate(value: float | None, interval: tuple[float, float] | None, sign: str) -> str:
    if value is None:
        return "-"
    between = "" if interval is None else f" [{interval[0]:{sign}.3g}, {interval[1]:{sign}.3g}]"
    return f"{value:{sign}.3g}{between}"
