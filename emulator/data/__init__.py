"""Datasets and files, in and out: anemoi datasets, GRIB, NetCDF, plain arrays; forecasts."""

import contextlib

with contextlib.suppress(ImportError):
    # pyproj and eccodes (which xarray loads to learn its engines) each bring a libproj. Whichever comes second is bound
    # to the first one's; where that is pyproj, it finds no database and crashes the interpreter at exit.
    import pyproj  # noqa: F401
