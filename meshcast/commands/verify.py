"""`meshcast verify`: scores, skill against baselines, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inference.scores.scorecard import ForecastScores, Verification


def verify(
    context: typer.Context,
    forecasts: Annotated[list[str], typer.Argument(help="Forecast files, ours or another centre's (NetCDF, GRIB).")],
    truth: Annotated[
        list[str], typer.Option(help="Dataset (.zarr, .npy) or file that holds what happened; repeat for more files.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for report, tables and pictures.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Training data to fit the baselines on, where they are no part of the truth.")
    ] = None,
    forcing: Annotated[
        list[str] | None, typer.Option(help="CSV table of forcings by date, for baselines of a task that has them.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option(help="A variable to verify; all common ones by default.")
    ] = None,
    trajectories: Annotated[
        str | None,
        typer.Option(
            help="Of the truth: the dimension that counts independent trajectories, `files` where each file is one, or "
            "FIRST:STOP of its rows, as 0:1 for the first member of an ensemble."
        ),
    ] = None,
    as_analyses: Annotated[
        bool, typer.Option("--forecasts-as-analyses", help="Take forecasts in the truth at their valid times.")
    ] = False,
    region: Annotated[
        str | None, typer.Option(help="Score within a region: tropics, northern-extratropics, europe ...")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Score within N,W,S,E in degrees, as 70,-10,25,28, eastward from W to E.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="One more closed form to measure against: its kind, as linear_inverse, or '{kind: ..., ...}' with its "
            "keys; repeat for more."
        ),
    ] = None,
    wet: Annotated[
        list[str] | None,
        typer.Option(
            help="From which value on a place is wet, as tp=0.001: scores the wet area and where it is; repeat for "
            "more. A millimetre a day for variables in kg m-2 s-1."
        ),
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with METRICS of your own; it is run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that score side by side, by Dask.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler whose workers score, as tcp://node1:8786.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores for machines.")] = False,
) -> None:
    """Verify forecasts against truth, beside every closed-form baseline from the same starts.

    Example: meshcast verify forecast.nc --truth data/era5-uk.zarr --output report
    """
    from emulator.data.forecast_file import read_forecast
    from emulator.data.sources import rows_or_dimension
    from emulator.foundation.workers import workers_of
    from emulator.plugins import load_plugins
    from graphs.atomic_file import output_folder
    from graphs.output_lock import output_lock
    from inference.scores.region import region_of
    from inference.scores.tables import to_json
    from meshcast.console import amounts, print_json, progress, say
    from training.runs.verify import verify_files

    load_plugins(plugin or [])
    files = [read_forecast(path, later=True) for path in forecasts]
    if output is not None:
        context.with_resource(output_lock(output_folder(output), folder=True))
    source, rows = truth[0] if len(truth) == 1 else truth, rows_or_dimension(trajectories)
    result = verify_files(
        files,
        source,
        train,
        variable,
        notice=say,
        trajectories=rows,
        as_analyses=as_analyses,
        forcing_tables=forcing or (),
        region=region_of(region, box),
        against=against or (),
        progress=progress,
        wet=amounts(wet or [], "--wet"),
        workers=context.with_resource(workers_of(workers, scheduler)),
    )
    if output is not None:
        import shlex
        import sys

        from inference.report.page import Notes
        from inference.report.report import write_report

        notes = Notes(command=shlex.join(["meshcast", *sys.argv[1:]]))
        report = write_report(result.verification, output, forecasts=result.forecasts, truth=result.truth, notes=notes)
        say(f"Wrote {report}.", path=report)
    if as_json:
        print_json(to_json(result.verification))
    else:
        print_scores(result.verification)


def print_scores(verification: Verification, metric: str = "rmse") -> None:
    """Print a table of one metric by lead time for each variable, a row an emulator."""
    import numpy as np

    from inference.report.score_tables import sentence, table_leads
    from inference.scores.metrics import METRICS
    from inference.scores.spread import collapsed
    from meshcast.console import counted, print_table, say

    emulators = [emulator for emulator in verification.emulators if metric in emulator.metrics]
    first = emulators[0]
    within = f" within {verification.region}" if verification.region else ""
    there = np.isfinite(first.mean(metric)) | (first.failed > 0)  # scored, or stopped before; [lead, variable]
    leads = table_leads(first.lead_steps[there.any(axis=1)], verification.time_step)
    axis, label = verification.time_step.lead_axis(leads)
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        rows = []
        for emulator in emulators:
            cells = _cells(emulator, metric, column)
            rows.append([emulator.label, *(cells.get(lead, "") for lead in leads.tolist())])
        name = sentence(METRICS[metric].with_unit(unit, variable))
        title = f"{name}{within}, {counted(first.num_cases, 'case')}, by {label}"
        print_table(title, ["emulator", *(f"{time:g}" for time in axis)], rows)
    for reason in (*verification.left_out, *collapsed(verification)):
        say(reason)


def _cells(emulator: ForecastScores, metric: str, column: int) -> dict[int, str]:
    """Return the score of one variable by lead step as text, or how many cases the guard had stopped."""
    means, failed = emulator.mean(metric)[:, column], emulator.failed[:, column]
    texts = [f"{stopped} stopped" if stopped else f"{mean:.3g}" for mean, stopped in zip(means, failed, strict=True)]
    return dict(zip(emulator.lead_steps.tolist(), texts, strict=True))
