"""`meshcast inspect`: what is in a dataset, a checkpoint or a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emulator.data.forecast import Forecast
    from emulator.fields import Fields


def inspect(
    path: Annotated[Path, typer.Argument(help="A dataset, a run folder, an emulator.safetensors, or a forecast.")],
    requirements: Annotated[bool, typer.Option("--requirements", help="What an emulator needs to start.")] = False,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="What it was made of, and what of that is as it was.")
    ] = False,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A plug-in file the emulator or the data need; it is run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Say what a file is and holds.

    Example: meshcast inspect runs/era5-uk --requirements
    """
    from emulator.data.forecast import Forecast
    from emulator.data.sources import open_source
    from emulator.foundation.fetched_files import is_plain_path, restored_address
    from emulator.plugins import load_plugins
    from graphs.errors import MeshcastError, on_one_line
    from meshcast.console import print_json, show

    load_plugins(plugin or [])
    if is_plain_path(restored_address(path)) and not path.exists():
        raise MeshcastError(f"There is no {path}. Give a dataset, a run folder, an emulator or a forecast.")
    emulator = path / "emulator.safetensors" if path.is_dir() and not path.suffix else path
    if emulator.suffix == ".safetensors":
        said = _emulator(emulator, requirements, lineage)
    elif requirements:
        raise MeshcastError(f"{path} is no emulator; --requirements asks what one needs to start.")
    else:
        source = open_source(path)
        said = _forecast(source, lineage) if isinstance(source, Forecast) else _dataset(source)
    if lineage:
        said |= _chain(emulator if emulator.suffix == ".safetensors" else source, as_json)
    if as_json:
        print_json(said)
        return
    width = max(len(name) for name in said)
    for name, value in said.items():
        lines = [on_one_line(str(line)) for line in value] if isinstance(value, list) else [on_one_line(str(value))]
        text = "\n".join(f"{'':{width}}  {line}" for line in lines)
        show(f"{on_one_line(name):{width}}  {text.lstrip()}")


def _emulator(path: Path, requirements: bool, lineage: bool) -> dict[str, Any]:
    from emulator.build import graphs_of, load_emulator
    from emulator.forcings import COMPUTED
    from graphs.edges.summary import describe

    trained = load_emulator(path)
    task, metadata = trained.emulator.task, trained.metadata
    if requirements:
        return {
            "to start": f"{task.history} consecutive state(s), {task.time_step} apart",
            "on": trained.emulator.mesh.describe(),
            "variables": [f"{variable.name} [{variable.units}]" for variable in task.with_role("prognostic")],
            "forcings": [
                f"{name} ({'computed' if name in (*COMPUTED, 'lead_time') else 'give with --forcing'})"
                for name in task.given_forcing
            ]
            or "none",
            **({"boundary": "the variables around the area at every step, from --boundary"} if task.boundary else {}),
        }
    data = metadata.get("dataset", {})
    if lineage:
        return {
            "trained on": data.get("source", "unknown"),
            "fingerprint": data.get("fingerprint", "unknown"),
            "attributes": _listed(data.get("attributes", {})),
            "versions": [f"{name} {version}" for name, version in metadata["versions"].items()],
        }
    said = {
        "emulator": f"{trained.name}, kind {trained.config.kind}",
        "predicts": ", ".join(f"{variable.name} [{variable.units}]" for variable in task.predicted),
        "time step": str(task.time_step),
        "mesh": trained.emulator.mesh.describe(),
        "trained weights": sum(weight.numel() for weight in getattr(trained.emulator, "parameters", list)()),
        "validation score": metadata.get("validation_score"),
        "updates": metadata.get("update"),
        **({"weights": _weights(metadata)} if "scores_of_weights" in metadata else {}),
        "trained on": data.get("source", "unknown"),
    }
    if trained.between is not None:
        assert trained.between.config.network is not None, "one that was trained has a network"
        kind = trained.between.config.network.kind
        said["between steps"] = f"any whole fraction of {task.time_step}, kind {kind}"
    if (graphs := graphs_of(trained.emulator)) is not None:
        said["graphs"] = describe(graphs, trained.emulator.mesh).splitlines()[1:]
    if data:
        first, last = map(task.time_step.moment, (data["first"], data["last"]))
        said["training period"] = f"{first} to {last}"
    if (methods := path.with_name("methods.md")).is_file():
        said["methods"] = methods.read_text(encoding="utf-8").strip()
    return said


def _weights(metadata: Mapping[str, Any]) -> str:
    scores = {name: "not finite" if s is None else f"{s:.4g}" for name, s in metadata["scores_of_weights"].items()}
    return f"{metadata['weights']}, by validation: {', '.join(f'{name} {score}' for name, score in scores.items())}"


def _dataset(fields: Fields) -> dict[str, Any]:
    first, last = map(fields.time_step.moment, fields.times[[0, -1]])
    return {
        "dataset": fields.source,
        "variables": [f"{name} [{unit}]" for name, unit in zip(fields.variables, fields.units, strict=True)],
        "mesh": fields.mesh.describe(),
        "time step": str(fields.time_step),
        "times": f"{len(fields.times)}, {first} to {last}, {len(fields.missing)} missing",
        "ensemble axis": f"{fields.ensemble_size} {fields.ensemble_axis}(s)",
        **_scalars(fields),
        "attributes": _listed(fields.attributes),
    }


def _listed(attributes: Mapping[str, str]) -> list[str]:
    """Return attributes a line each, but for the list of source files, which --lineage gives."""
    return [f"{name}: {value}" for name, value in attributes.items() if name != "source_files"]


def _chain(of: Path | Fields | Forecast, as_json: bool) -> dict[str, Any]:
    """Return what a forecast, an emulator or data were made of, link by link, with what is still as it was."""
    from emulator.data.forecast import Forecast
    from training.runs.lineage import lineage_of_dataset, lineage_of_emulator, lineage_of_forecast

    if isinstance(of, Path):
        links = lineage_of_emulator(of)
    else:
        links = lineage_of_forecast(of) if isinstance(of, Forecast) else lineage_of_dataset(of.attributes)
    if as_json:
        return {"lineage": [link.as_plain() for link in links]}
    said: dict[str, list[str]] = {}
    for link in links:
        said.setdefault(link.link, []).append(str(link))
    return said or {"lineage": ["nothing is recorded of what this was made of"]}


def _scalars(fields: Fields) -> dict[str, list[str]]:
    """Return what forces each trajectory, where there is anything."""
    if (scalars := fields.scalars) is None:
        return {}
    first, last = map(fields.time_step.moment, scalars.times[[0, -1]])
    within = f"{len(scalars.times)} times, {first} to {last}"
    return {
        "global scalars": [
            f"{name} [{unit}], {low:.4g} to {high:.4g}, {within}"
            for name, unit, low, high in zip(
                scalars.names,
                scalars.units,
                scalars.values.min(axis=(0, 1)),
                scalars.values.max(axis=(0, 1)),
                strict=True,
            )
        ]
    }


def _forecast(forecast: Forecast, lineage: bool) -> dict[str, Any]:
    if lineage:
        hidden = ("lineage", "source_files")  # they are said link by link
        kept = {name: value for name, value in forecast.attributes.items() if name not in hidden}
        return {"forecast by": forecast.name, **kept}
    cases, members, leads = forecast.values.shape[:3]
    first, last = map(forecast.time_step.moment, forecast.init_time[[0, -1]])
    return {
        "forecast by": forecast.name,
        "variables": [f"{n} [{u}]" for n, u in zip(forecast.variables, forecast.units, strict=True)],
        "mesh": forecast.mesh.describe(),
        "cases": f"{cases}, from {first} to {last}",
        "members": members,
        "lead times": f"{leads} steps of {forecast.time_step}",
        "stopped by the guard": forecast.attributes.get("stops", "[]"),
    }
