"""`meshcast verify`: scores, skill against baselines, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    forecasts: Annotated[list[Path], typer.Argument(help="Forecast files, ours or another centre's (NetCDF, GRIB).")],
    truth: Annotated[str, typer.Option(help="Dataset (.zarr, .npy) or file that holds what happened.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for report, tables and pictures.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="Training data to fit the baselines on; by default as the forecast file says.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option(help="A variable to verify; all common ones by default.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with METRICS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores for machines.")] = False,
) -> None:
    """Verify forecasts against truth, beside every closed-form baseline from the same starts.

    Example: meshcast verify forecast.nc --truth data/era5-uk.zarr --output report
    """
    from emulator.data.forecast_file import read_forecast
    from emulator.plugins import load_plugins
    from graphs.atomic_file import output_folder
    from inference.scores.tables import to_json
    from meshcast.console import print_json, say
    from meshcast.results import print_scores
    from training.runs.verify import verify_files

    load_plugins(plugin or [])
    given = [read_forecast(path) for path in forecasts]
    if output is not None:
        output_folder(output)
    result = verify_files(given, truth, train, variable, notice=say)
    if output is not None:
        import shlex
        import sys

        from inference.report.page import Notes
        from inference.report.report import write_report

        notes = Notes(command=shlex.join(["meshcast", *sys.argv[1:]]))
        report = write_report(result.verification, output, forecasts=result.forecasts, truth=result.truth, notes=notes)
        say(f"Wrote {report}.")
    if as_json:
        print_json(to_json(result.verification))
    else:
        print_scores(result.verification)
