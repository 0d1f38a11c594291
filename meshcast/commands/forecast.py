"""`meshcast forecast`: roll an emulator out from new initial conditions."""

from __future__ import annotations

from dataclasses import replace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from emulator.forcings import ForcingWindows


def forecast(
    emulator: Annotated[Path, typer.Argument(help="An emulator.safetensors, or the run folder that holds it.")],
    initial: Annotated[list[str], typer.Option(help="Dataset (.zarr, .npy) or GRIB/NetCDF file; repeat for more.")],
    lead_time: Annotated[str, typer.Option(help="How far: 5d, 6h, '6 month', '40 steps'.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Forecast file: .nc, .zarr, or .grib on a regular grid.")
    ],
    init_times: Annotated[
        str,
        typer.Option(help="'T, T', 'START/END/STEP', latest or all; T is a date, or an equation's own time from 0."),
    ] = "latest",
    trajectories: Annotated[
        str | None,
        typer.Option(help="FIRST:STOP of a simulated dataset; of files, the dimension that counts them, or `files`."),
    ] = None,
    members: Annotated[int, typer.Option(min=1, help="Ensemble members; all but the first are perturbed.")] = 1,
    perturb: Annotated[float, typer.Option(min=0.0, help="Std of the perturbation, in units of the variables'.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the perturbation.")] = 0,
    forcing: Annotated[list[str] | None, typer.Option(help="CSV table by date, or dataset, of forcings.")] = None,
    boundary: Annotated[
        str | None, typer.Option(help="Of a limited area: the dataset, or the forecast file, that surrounds it.")
    ] = None,
    rename: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, for a variable of the file.")] = None,
    units: Annotated[list[str] | None, typer.Option(help="NAME=UNITS, where the file does not say.")] = None,
    forecasts: Annotated[
        bool, typer.Option("--forecasts-as-analyses", help="Start from forecasts too, at their valid times.")
    ] = False,
    regrid: Annotated[
        Literal["bilinear", "conservative"] | None,
        typer.Option(help="Remap initial conditions that lie on other nodes than the emulator's."),
    ] = None,
    guard: Annotated[bool, typer.Option(help="Stop a case that leaves twice the training range.")] = True,
    device: Annotated[str, typer.Option(help="Where the emulator runs: cpu, cuda, cuda:1 ...")] = "cpu",
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of the network; the state stays in float32.")
    ] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor; measured by default.")] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Processes to split the graph over, started by torchrun --nproc-per-node N.")
    ] = 1,
    every: Annotated[
        str | None,
        typer.Option(help="Write every so often: 6h, '3 steps', or part of a step; each step by default."),
    ] = None,
    variables: Annotated[str | None, typer.Option(help="'2t, msl': write these alone.")] = None,
    area: Annotated[str | None, typer.Option(help="NORTH/WEST/SOUTH/EAST [degrees]: write this part alone.")] = None,
    accumulate: Annotated[
        str | None, typer.Option(help="'tp, sf': amounts a step, written as sums since the output before.")
    ] = None,
    place: Annotated[list[str] | None, typer.Option(help="LAT,LON: write series there too; repeat for more.")] = None,
    series: Annotated[
        Path | None, typer.Option(help="File of the series, .csv or .nc; the output's name with -series.csv.")
    ] = None,
    grib: Annotated[
        list[str] | None,
        typer.Option(help="VARIABLE=paramId, or centre=, generating_process=, ensemble_type=, control=; repeat."),
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Draw maps, series and an animation beside the file.")] = False,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="A plug-in file the emulator or the data need; it is run.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the file where it exists.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted forecast, or convert it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Forecast from new initial conditions, many at once, with a guard on every step.

    Exit code 0 where every case reached its last lead time, 3 where the guard stopped one: the file is whole, and
    missing from that step on.

    Example: meshcast forecast runs/era5-uk --initial new.grib --init-times latest --lead-time 24h -o forecast.nc
    """
    import numpy as np

    from emulator.between import parts_of_a_step
    from emulator.build import load_emulator
    from emulator.data.boundary_sources import boundary_forcings
    from emulator.data.initial import initial_conditions
    from emulator.data.output_choice import OutputChoice, area_of
    from emulator.data.sources import open_fields, open_source, rows_or_dimension
    from emulator.foundation.lineage import noting_fetched_files
    from emulator.foundation.shard_group import joined
    from graphs.errors import MeshcastError
    from inference.forecasts.lineage import lineage_of
    from inference.forecasts.place_series import node_at, parse_place, refuse_series_file, write_series
    from inference.forecasts.write_forecast import (
        EmptyForecastError,
        ForecastOptions,
        future_forcings,
        write_forecast,
    )
    from meshcast.console import PARTIAL, box, counted, listed, pairs, print_json, progress, quieten, say

    group = joined(shards) if shards > 1 else None
    first = group is None or group.shard.number == 0
    if not first:
        quieten()
    trained = load_emulator(emulator, plugin or [], group)
    task, mesh = trained.emulator.task, trained.emulator.mesh
    steps = task.time_step.steps_in(lead_time)
    parts, interval = (1, 1) if every is None else parts_of_a_step(task.time_step, every, trained.between)
    if realpath(output) in [realpath(source) for source in [*initial, *(forcing or []), str(emulator)]]:
        raise MeshcastError(f"The output {output} is what the forecast starts from. Choose another name.")
    names, given = pairs(rename or [], "--rename"), pairs(units or [], "--units")
    rows = rows_or_dimension(trajectories)
    source = initial if len(initial) > 1 else initial[0]
    with noting_fetched_files():
        fields = open_fields(source, rows, rename=names, units=given, names=task.prognostic, forecasts=forecasts)
        conditions = initial_conditions(fields, task, mesh, init_times, names, given, trained.valid_by_name(), regrid)
        lineage = lineage_of(emulator, trained, initial=initial, forcing=forcing or [], boundary=[boundary or ""])
    for notice in conditions.notices:
        say(notice)
    forcings: ForcingWindows = future_forcings(trained, forcing or [], initial)
    if boundary is not None:
        finer = replace(task, time_step=task.time_step.part(parts))  # known at every lead time
        forcings, notices = boundary_forcings(
            forcings, open_source(boundary), finer, mesh, conditions.state, conditions.trajectory, steps * parts
        )
        conditions = replace(conditions, attributes={**conditions.attributes, "boundary": boundary})
        for notice in notices:
            say(notice)
    elif task.boundary:
        raise MeshcastError(
            f"This emulator covers a {mesh.describe()}, whose values it is given at every step. Name the dataset or "
            "the forecast that surrounds it: --boundary SOURCE."
        )
    choice = OutputChoice(
        every=interval,
        variables=listed(variables),
        area=box(area, "--area"),
        accumulate=listed(accumulate),
    )
    if series is not None and not place:
        raise MeshcastError(f"{series} is to hold series, but of no place. Name one or more: --place LAT,LON.")
    places = [parse_place(text, mesh) for text in place or []]
    series = series or output.with_name(f"{output.stem}-series.csv")
    if places:
        taken = {Path(source).resolve() for source in [*initial, *(forcing or []), str(emulator), str(output)]}
        if series.resolve() in taken:
            raise MeshcastError(
                f"The series cannot go into {series}, which is the forecast's own. Choose another name."
            )
        refuse_series_file(series, overwrite)
        covered = mesh if choice.area is None else area_of(mesh, choice.area)[0]
        for one in places:
            node_at(covered, one)
    options = ForecastOptions(
        members,
        perturb,
        seed,
        guard,
        overwrite,
        resume,
        device,
        threads,
        pairs(grib or [], "--grib"),
        choice,
        precision,
        parts,
        lineage,
    )
    cases, written = len(conditions.trajectory), True
    with progress("forecasting", steps * parts) as done:
        try:
            stops = write_forecast(trained, conditions, forcings, steps, output, options, done, say)
        except EmptyForecastError as error:
            message, stops, written = str(error), error.stops, False
    if not first:
        raise typer.Exit(PARTIAL if stops else 0)
    if written:
        what = f"{counted(cases, 'case')}, {counted(steps, 'step')} of {task.time_step}"
        what += f", {steps * parts} lead times every {task.time_step.part(parts)}" if parts > 1 else ""
        say(f"Wrote {output}: {what}.", path=output, cases=cases, steps=steps)
    for stop in stops:
        say(f"Guard: {stop}")
    if not written:
        say(message, event="error", code=PARTIAL)
    elif places or plots:
        from emulator.data.forecast_file import read_forecast
        from inference.pictures.forecast_pictures import write_pictures

        found = read_forecast(output)
        if places:
            say(f"Wrote {write_series(found, places, series)}: {counted(len(places), 'place')}.", path=series)
        nodes = [node_at(found.mesh, one) for one in places]
        for text, node in zip(place or [], nodes, strict=True):
            if np.isnan(found.values[:, :, :, node]).all():
                say(f"Warning: the node nearest to {text} has no values, as land has none of the sea.")
        for picture in write_pictures(found, output.with_suffix(""), node=next(iter(nodes), None)) if plots else []:
            say(f"Wrote {picture}.", path=picture)
    if as_json:
        told = {"cases": cases, "steps": steps, "stops": [str(stop) for stop in stops]}
        print_json({"output": str(output) if written else None, **told})
    if stops or not written:
        raise typer.Exit(PARTIAL)
