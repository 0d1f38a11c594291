"""`meshcast reproduce`: train one row of a comparison again and hold it against its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    place: Annotated[Path, typer.Argument(help="The folder of a comparison, runs/NAME, or of one of its runs.")],
    row: Annotated[str | None, typer.Option(help="Label of the row; by default that others are measured by.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which of its seeds; the lowest by default.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the new run beside the others.")] = False,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with EMULATORS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Train one row of a comparison again, with its seed, and say whether its score falls inside the interval.

    Exit code 0 where it does, 1 where it does not.

    Example: meshcast reproduce runs/compare-ring --row gnn
    """
    import sys
    from contextlib import redirect_stdout
    from dataclasses import asdict

    from emulator.plugins import load_plugins
    from meshcast.console import print_json, say
    from training.comparison.reproduce import reproduce as reproduce_row

    load_plugins(plugin or [])
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        found = reproduce_row(place, row, seed, keep=keep, say=say)
    if as_json:
        print_json({**asdict(found), "inside": found.inside})
    else:
        say(found.describe())
    if not found.inside:
        raise typer.Exit(1)
