"""`meshcast demo`: the whole path on data made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def demo(
    context: typer.Context,
    domain: Annotated[Literal["sphere", "ring"], typer.Argument(help="What to run on.")] = "sphere",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything it makes.")] = Path("runs"),
    updates: Annotated[int | None, typer.Option(min=1, help="Updates of the training; fewer for a quick look.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores for machines.")] = False,
) -> None:
    """Simulate, train, forecast, verify and report, in a few minutes on a laptop.

    On the sphere shallow water, ten days ahead; on the ring turbulence. Fails (exit code 1) where the network does not
    beat the simple baselines at every lead time: on the sphere all closed forms, on the ring persistence.

    Example: meshcast demo
    """
    from graphs.output_lock import output_lock
    from meshcast.commands.configs import shipped_configs
    from meshcast.commands.verify import print_scores
    from meshcast.console import print_json, progress, say
    from training.runs.demonstration import run_demonstration

    context.with_resource(output_lock(output / f"demo-{domain}"))
    result = run_demonstration(domain, output, updates, shipped_configs(), say, progress)
    if as_json:
        print_json(result.as_dict())
    else:
        print_scores(result.verification, result.demo.metric)
    if result.unbeaten:
        say(
            f"The network does not beat {', '.join(result.unbeaten)} at every lead time: the training was too short, "
            "or something is wrong with this installation."
        )
        raise typer.Exit(1)
