"""`meshcast plot`: maps, series and an animation of a forecast, without truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    forecast: Annotated[Path, typer.Argument(help="A forecast file (NetCDF, GRIB or zarr).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("plots"),
    variables: Annotated[
        str | None, typer.Option(help="'2t, msl': these alone, animated each; all by default.")
    ] = None,
    contours: Annotated[bool, typer.Option("--contours", help="Draw lines of equal value over the colours.")] = False,
    place: Annotated[str | None, typer.Option(help="LAT,LON of the series; the middle by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Draw a forecast from its initial value on: maps or space-time diagrams, series at a place, an animation.

    Example: meshcast plot forecast.nc --output plots
    """
    from emulator.data.forecast_file import read_forecast
    from inference.forecasts.place_series import node_at, parse_place
    from inference.pictures.field_views import variable_of
    from inference.pictures.forecast_pictures import write_pictures
    from meshcast.console import listed, print_json, say

    found, names = read_forecast(forecast), listed(variables)
    for name in names:
        variable_of(found, name)
    node = None if place is None else node_at(found.mesh, parse_place(place, found.mesh))
    written = write_pictures(found, output, names, contours, node)
    for path in written:
        say(f"Wrote {path}.", path=path)
    if as_json:
        print_json([str(path) for path in written])
