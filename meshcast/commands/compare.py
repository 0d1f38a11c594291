"""`meshcast compare`: several emulators on one split, one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inference.comparison.record import Row


def compare(
    config: Annotated[Path, typer.Argument(help="YAML of a comparison, or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. training.updates=500 'rows.LSTM.history=2'.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say how many runs are left and how long they take.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report of another comparison.")] = False,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A file with EMULATORS or METRICS of your own; it is run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Train or load several emulators, forecast the same starts of the test split, rank them in one report.

    Started again, it skips the runs that are finished and continues the one that was interrupted. Exit code 0 where
    every row could be run, 3 where one failed: the report then says why, and leaves it out of the scores.

    Example: meshcast compare mine.yaml training.updates=500 --plugin mine.py
    """
    import shlex
    import sys
    from contextlib import redirect_stdout
    from dataclasses import asdict

    from emulator.foundation.configuration import load
    from emulator.plugins import load_plugins
    from inference.comparison.findings import answer
    from meshcast.commands.configs import config_path
    from meshcast.console import PARTIAL, print_json, print_table, say
    from training.comparison.compare import CompareConfig, expect, to_plain
    from training.comparison.compare import compare as run_comparison

    load_plugins(plugin or [])
    settings = load(CompareConfig, config_path(config), overrides or [])
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        if dry_run:
            remaining = expect(settings, say=say)
            say(f"{remaining}.")
        else:
            command = shlex.join(["meshcast", *sys.argv[1:]])
            comparison = run_comparison(settings, say=say, command=command, overwrite=overwrite)
    if dry_run:
        if as_json:
            print_json(asdict(remaining))
        return
    if as_json:
        print_json(to_plain(settings, comparison))
    else:
        print_table(
            f"{settings.name}: {settings.validation.score} over {settings.forecast.steps} steps, lower is better",
            ["", "row", "score [95 %]", f"over {comparison.reference} [95 %]", "weights", "fit [s]"],
            [_cells(place, row) for place, row in enumerate(comparison.ranked, 1)],
        )
        say(answer(comparison))
    for row in comparison.rows:
        for reason in row.reasons:
            say(f"{row.label} {row.status}: {reason}")
    for sentence in comparison.verification.left_out:
        say(f"Not verified: {sentence}.")
    say(f"Wrote {comparison.folder / 'report.html'}.")
    if failed := [row.label for row in comparison.rows if row.status == "failed"]:
        say(
            f"{len(failed)} of {len(comparison.rows)} rows failed: {', '.join(failed)}. Start the comparison again to "
            "repeat their runs alone.",
            event="error",
            code=PARTIAL,
        )
        raise typer.Exit(PARTIAL)


def _cells(place: int, row: Row) -> list[str]:
    status = "" if row.status in ("done", "loaded") else f" ({row.status})"
    seconds, weights = row.training_seconds, row.parameters
    notes = (("trainable", ""), ("fixed", " fixed"))
    return [
        str(place),
        row.label + status,
        _estimate(row.score.value, row.score.interval),
        _estimate(row.score.ratio, row.score.ratio_interval),
        " + ".join(f"{weights[kind]}{note}" for kind, note in notes if weights.get(kind)) or "0",
        f"{sum(seconds) / len(seconds):.0f}" if seconds else "",
    ]


def _estimate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    between = "" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"
    return f"{value:.3g}{between}"
