"""`meshcast plot`: maps, series and an animation of a forecast, without truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    forecast: Annotated[Path, typer.Argument(help="A forecast file (NetCDF or GRIB).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("plots"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Draw a forecast: maps or space-time diagrams, series at a place, an animation.

    Example: meshcast plot forecast.nc --output plots
    """
    from emulator.data.forecast_file import read_forecast
    from inference.pictures.forecast_pictures import write_pictures
    from meshcast.console import print_json, say

    written = write_pictures(read_forecast(forecast), output)
    for path in written:
        say(f"Wrote {path}.")
    if as_json:
        print_json([str(path) for path in written])
