"""Forecasts in GRIB and zarr: made of a NetCDF file once that is whole, also of one that a broken off run left."""

from __future__ import annotations

from pathlib import Path

from emulator.data.forecast_file import partial_file, read_forecast
from emulator.data.forecast_netcdf import PREFIX, ForecastHeading, differences
from emulator.data.forecast_zarr import write_zarr
from emulator.data.grib_output import GribSettings, write_grib
from emulator.data.output_choice import chosen_output
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError, refuse_damaged
from inference.forecasts.guard import Stop


def whole_before(
    whole: Path, output: Path, heading: ForecastHeading, steps: int, resume: bool, overwrite: bool
) -> list[Stop] | None:
    """Return the stops of the whole NetCDF file that a broken off run left; None where it is to be computed.

    Raises MeshcastError where a file stands there that is of another forecast, or that nobody said to go on from.
    """
    import netCDF4

    if whole == output or not whole.exists() or (overwrite and not resume):
        return None
    if not resume:
        raise MeshcastError(
            f"{whole} exists, which a broken off run may have left before it became {output}. Convert it with "
            "--resume, start anew with --overwrite, or choose another output."
        )
    if different := differences(whole, chosen_output(heading, ())[0], steps):
        raise MeshcastError(
            f"{whole}, of which {output} would be made, is of another forecast: its {', '.join(different)} differ. "
            "Convert that one with the same options, move it away, or choose another output."
        )
    with refuse_damaged(whole), netCDF4.Dataset(whole) as file:
        return [Stop.read(text) for text in typed_json(list[str], file.getncattr(PREFIX + "stops"))]


def convert(whole: Path, output: Path, overwrite: bool, grib: GribSettings | None) -> None:
    """Make GRIB, or zarr where there are no settings of GRIB, of a whole NetCDF file, and remove that."""
    try:
        if grib is None:
            write_zarr(whole, output)
        else:
            write_grib(read_forecast(whole), output, overwrite, grib)
    except MeshcastError as error:
        raise MeshcastError(f"{error} The forecast itself is whole, as NetCDF, in {whole}.") from error
    whole.unlink()
    partial_file(whole).unlink(missing_ok=True)  # of a process that died before it could
