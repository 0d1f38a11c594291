"""`meshcast graph`: build, describe, check, draw and save the graphs of an experiment, or of a grid without data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from graphs.edges.build import GraphConfig
    from graphs.mesh import Mesh


def graph(
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(help="YAML of an experiment, or of a grid and its graphs; or the name of a shipped one.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the graphs here, ending in .safetensors.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the graphs here, ending in .png.")] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with FORMATS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Build the graphs of an experiment, say what they are, draw and save them.

    A file without data does too: `grid: {kind: latlon, spacing: 1.0}` and
    `graph: {processor: {kind: multi_mesh}, mesh: {kind: icosphere, level: 5}}`.

    Example: meshcast graph ring-advection --picture graph.png
    """
    from emulator.plugins import load_plugins
    from graphs.edges.build import build_graphs, estimate
    from graphs.edges.summary import describe, summary
    from graphs.output_lock import output_lock
    from graphs.storage import save
    from meshcast.console import print_json, say, show

    load_plugins(plugin or [])
    for target, ending in ((output, ".safetensors"), (picture, ".png")):
        if target is not None:
            context.with_resource(output_lock(target))
            _refuse(target, ending)
    mesh, chosen = _mesh_and_edges(config, overrides or [])
    expected = estimate(chosen, mesh.num_nodes)
    say(expected.describe())
    if mesh.domain.kind == "sphere":  # of a limited area only the mesh is built whole, which looks at memory itself
        expected.refuse_too_large()
    graphs = build_graphs(chosen, mesh)
    if as_json:
        print_json(summary(graphs, mesh))
    else:
        show(describe(graphs, mesh))
    if output is not None:
        save(output, mesh, graphs)
        say(f"Wrote {output}.", path=output)
    if picture is not None:
        from inference.pictures.graph_picture import draw_graphs

        draw_graphs(graphs, mesh, picture)
        say(f"Wrote {picture}.", path=picture)


def _mesh_and_edges(config: Path, overrides: list[str]) -> tuple[Mesh, GraphConfig]:
    """Return the mesh of the data, and the graphs asked for, of either kind of file."""
    from emulator.foundation.configuration import load, read_yaml
    from emulator.networks.gnn import GNNConfig
    from graphs.edges.build import GridGraphs, default_config
    from graphs.errors import MeshcastError
    from graphs.meshes.grids import build_grid
    from meshcast.commands.configs import config_path
    from training.experiment import ExperimentConfig

    path = config_path(config)
    if "grid" in read_yaml(path):
        bare = load(GridGraphs, path, overrides)
        mesh = build_grid(bare.grid)
        return mesh, bare.graph or default_config(mesh)
    experiment = load(ExperimentConfig, path, overrides)
    if not isinstance(experiment.emulator, GNNConfig):
        raise MeshcastError(f"An emulator of kind {experiment.emulator.kind} has no graph. Use kind: gnn.")
    mesh = experiment.data.train.mesh
    return mesh, experiment.emulator.graph or default_config(mesh)


def _refuse(target: Path, ending: str) -> None:
    """Raise MeshcastError where a file of this name is not ours to write."""
    from graphs.atomic_file import refuse_unwritable
    from graphs.errors import MeshcastError

    if target.suffix != ending:
        raise MeshcastError(f"{target} must end in {ending}. Choose another name.")
    if target.exists():
        raise MeshcastError(f"{target} exists already. Choose another name, or remove it.")
    refuse_unwritable(target)
