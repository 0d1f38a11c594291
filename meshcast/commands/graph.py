"""`meshcast graph`: build, describe, draw and save the graphs of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def graph(
    config: Annotated[Path, typer.Argument(help="YAML of an experiment, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the graphs here, ending in .safetensors.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the graphs here, ending in .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Build the graphs of an experiment, say what they are, draw and save them.

    Example: meshcast graph ring-advection --picture graph.png
    """
    from emulator.configuration import load
    from emulator.gnn import GNNConfig
    from graphs.build import build_graphs, default_config
    from graphs.errors import MeshcastError
    from graphs.storage import save
    from graphs.summary import describe, summary
    from meshcast.console import out, print_json, say
    from meshcast.shipped import config_path
    from training.experiment import ExperimentConfig

    for target, ending in ((output, ".safetensors"), (picture, ".png")):
        if target is not None:
            _refuse(target, ending)
    experiment = load(ExperimentConfig, config_path(config), overrides or [])
    if not isinstance(experiment.emulator, GNNConfig):
        raise MeshcastError(f"An emulator of kind {experiment.emulator.kind} has no graph. Use kind: gnn.")
    mesh = experiment.data.train.open().mesh
    graphs = build_graphs(experiment.emulator.graph or default_config(mesh), mesh)
    if as_json:
        print_json(summary(graphs, mesh))
    else:
        out.print(describe(graphs, mesh), markup=False)
    if output is not None:
        save(output, mesh, graphs)
        say(f"Wrote {output}.")
    if picture is not None:
        from inference.graph_picture import draw_graph

        draw_graph(graphs.processor, mesh, picture)
        say(f"Wrote {picture}.")


def _refuse(target: Path, ending: str) -> None:
    """Raise MeshcastError where a file of this name is not ours to write."""
    from graphs.atomic_file import refuse_unwritable
    from graphs.errors import MeshcastError

    if target.suffix != ending:
        raise MeshcastError(f"{target} must end in {ending}. Choose another name.")
    if target.exists():
        raise MeshcastError(f"{target} exists already. Choose another name, or remove it.")
    refuse_unwritable(target)
