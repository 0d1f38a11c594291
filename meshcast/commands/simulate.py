"""`meshcast simulate`: run a reference solver, write an anemoi dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    config: Annotated[Path, typer.Argument(help="YAML of a simulation, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. num_trajectories=10.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the dataset where it exists.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor; measured by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Run a reference solver and write its trajectories as an anemoi dataset.

    Example: meshcast simulate simulate-advection num_trajectories=20 output=data/advection.zarr
    """
    from emulator.physics.simulate import load_simulation, mesh_of
    from emulator.physics.simulate import simulate as run_solver
    from meshcast.commands.configs import config_path
    from meshcast.console import print_json, progress, say

    settings = load_simulation(config_path(config), overrides or [])
    output = Path(settings.output)
    with progress("simulating", 100) as done:
        run_solver(settings, output, overwrite, lambda step, total: done(100 * step // total), threads, say)
    nodes = mesh_of(settings).num_nodes
    shape = {"trajectories": settings.num_trajectories, "frames": settings.num_frames, "nodes": nodes}
    say(f"Wrote {output}: " + ", ".join(f"{count} {name}" for name, count in shape.items()) + ".")
    if as_json:
        print_json({"output": str(output), **shape})
