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
    workers: Annotated[int | None, typer.Option(help="Processes that compute side by side, by Dask.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler whose workers compute, as tcp://node1:8786.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Run a reference solver and write its trajectories as an anemoi dataset.

    The same command goes on where an earlier one was killed.

    Example: meshcast simulate simulate-advection num_trajectories=20 output=data/advection.zarr
    """
    from emulator.foundation.workers import workers_of
    from emulator.physics.simulate import load_simulation, mesh_of
    from emulator.physics.simulate import simulate as run_solver
    from meshcast.commands.configs import config_path
    from meshcast.console import print_json, progress, say

    settings = load_simulation(config_path(config), overrides or [])
    output = Path(settings.output)
    with workers_of(workers, scheduler) as those, progress("simulating", 100) as done:

        def show(step: int, total: int) -> None:
            done(100 * step // total)

        run_solver(settings, output, overwrite, show, threads, say, those)
    nodes = mesh_of(settings).num_nodes
    shape = {"trajectories": settings.num_trajectories, "frames": settings.num_frames, "nodes": nodes}
    say(f"Wrote {output}: " + ", ".join(f"{count} {name}" for name, count in shape.items()) + ".")
    if as_json:
        print_json({"output": str(output), **shape})
