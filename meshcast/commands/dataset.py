"""`meshcast dataset`: files to an anemoi dataset, or fields to a file of The Well."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dataset(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            help="GRIB, NetCDF or The Well's HDF5 files, merged by variable and time; or a quoted pattern, - for "
            "standard input, an address, a request (.yaml; docs/data.md)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="What to write: a dataset, .zarr, or for The Well, .hdf5.")
    ],
    rename: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, for a variable's name.")] = None,
    units: Annotated[list[str] | None, typer.Option(help="NAME=UNITS, where the file does not say.")] = None,
    select: Annotated[list[str] | None, typer.Option(help="A variable to keep; repeat for more.")] = None,
    static: Annotated[
        list[str] | None, typer.Option(help="A variable that never changes, whatever time it bears; repeat for more.")
    ] = None,
    forecasts: Annotated[
        bool, typer.Option("--forecasts-as-analyses", help="Take forecasts at their valid times; else refused.")
    ] = False,
    trajectories: Annotated[
        str | None,
        typer.Option(
            help="What tells independent trajectories, no members, apart: a dimension; `files`, where each is one; or "
            "a global attribute, such as variant_label."
        ),
    ] = None,
    frequency: Annotated[str | None, typer.Option(help="Keep every so often, e.g. 6h or '1 month'.")] = None,
    truncation: Annotated[
        int | None,
        typer.Option(help="Take global fields to an icosphere, as spherical harmonics up to this degree."),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(help="Of that icosphere: 3 has 642 nodes, 4 2,562, 5 10,242."),
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="NAME=TEXT, e.g. licence=CC-BY-4.0; travels with the data.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with FORMATS of your own; it is run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read and write side by side, by Dask.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler whose workers do so, as tcp://node1:8786.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the dataset where it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Write files as one anemoi dataset; or, where the output ends in .hdf5, a dataset, forecast or files for The Well.

    What does not fit in memory is read part by part. The same command goes on where an earlier one was killed.

    Example: meshcast dataset era5-*.grib --output data/era5.zarr
    """
    from emulator.data.convert import convert, describe
    from emulator.foundation.workers import workers_of
    from emulator.harmonic_fields import HarmonicsConfig
    from emulator.plugins import load_plugins
    from graphs.errors import MeshcastError
    from graphs.meshes.icosphere import IcosphereMesh
    from graphs.output_lock import output_lock
    from meshcast.console import pairs, print_json, progress, say

    if (truncation is None) != (level is None):
        raise MeshcastError("Fields are taken to an icosphere by --truncation and --level together: give both.")
    harmonics = None
    if truncation is not None and level is not None:
        harmonics = HarmonicsConfig(truncation, IcosphereMesh(level=level), beyond="cut")
    load_plugins(plugin or [])
    context.with_resource(output_lock(output))
    written = convert(
        sources,
        output,
        rename=pairs(rename or [], "--rename"),
        units=pairs(units or [], "--units"),
        select=select,
        frequency=frequency,
        attributes=pairs(attribute or [], "--attribute"),
        overwrite=overwrite,
        trajectories=trajectories,
        static=static or [],
        forecasts=forecasts,
        harmonics=harmonics,
        workers=context.with_resource(workers_of(workers, scheduler)),
        notice=say,
        progress=progress,
    )
    say(f"Wrote {output}.\n{describe(written)}")
    if as_json:
        print_json(written)
