"""Scores as files: NetCDF, JSON and one tidy table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import to_datetime
from graphs.atomic_file import system_errors
from inference.scores.equivalent_truncation import equivalents
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification
from inference.scores.tidy_table import COLUMNS, case_names, tidy_table

__all__ = ["COLUMNS", "by_variable", "case_names", "tidy_table", "to_dataset", "to_json", "write_tables"]

if TYPE_CHECKING:
    import xarray as xr


def to_dataset(verification: Verification) -> xr.Dataset:
    """Everything as labelled arrays: means, bounds and counts over cases, and scores case by case.

    Cases and leads are the union over emulators, NaN where an emulator has none.
    """
    import xarray as xr

    keys = sorted({key for e in verification.emulators for key in _keys(e)})
    place = {key: index for index, key in enumerate(keys)}
    leads = np.unique(np.concatenate([e.lead_steps for e in verification.emulators]))
    shape = (len(verification.emulators), len(keys), len(leads), len(verification.variables))
    arrays: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, str]]] = {}

    def put(name: str, dims: tuple[str, ...], index: Any, values: NDArray[Any], title: str) -> None:
        sizes = dict(zip(("emulator", "case", "lead", "variable"), shape, strict=True))
        if name not in arrays:
            arrays[name] = dims, np.full([sizes[dim] for dim in dims], np.nan), {"long_name": title}
        arrays[name][1][index] = values

    over_cases = ("emulator", "lead", "variable")
    for number, emulator in enumerate(verification.emulators):
        cases = np.array([place[key] for key in _keys(emulator)])
        lead = np.searchsorted(leads, emulator.lead_steps)
        for metric in emulator.metrics:
            title = METRICS[metric].title
            put(metric, over_cases, (number, lead), emulator.mean(metric), title)
            for bound, values in zip(("lower", "upper"), verification.interval(emulator.label, metric), strict=True):
                put(f"{metric}_{bound}", over_cases, (number, lead), values, f"{title}, {bound} bound of its interval")
            place_of_cases = (number, *np.ix_(cases, lead))
            dims = ("emulator", "case", "lead", "variable")
            put(f"case_{metric}", dims, place_of_cases, emulator.case_values(metric), f"{title} of each case")
        put("num_cases", over_cases, (number, lead), emulator.verified.sum(0), "cases verified")
        put("num_failed", over_cases, (number, lead), emulator.failed, "cases whose forecast failed")
        put("score", ("emulator", "variable"), number, emulator.score(), SCORE_TITLE)
        steps_title = f"steps before RMSE / std passes {verification.threshold:g}"
        put("stable_steps", ("emulator", "case", "variable"), (number, cases), emulator.stable_steps, steps_title)
    lead_values, lead_label = verification.time_step.lead_axis(leads)
    dataset = xr.Dataset(
        arrays,
        coords={
            "emulator": [e.label for e in verification.emulators],
            "variable": list(verification.variables),
            "units": ("variable", list(verification.units)),
            "truth_std": ("variable", verification.scale),
            "lead": ("lead", leads, {"long_name": "time steps since the initial time"}),
            "lead_time": ("lead", lead_values, {"long_name": lead_label}),
            "init_time": ("case", to_datetime(np.array([key[0] for key in keys]))),
            "trajectory": ("case", [key[1] for key in keys]),
        },
        attrs={"title": "Forecast scores", "time_step": str(verification.time_step), **verification.truth},
    )
    dataset["init_time"].encoding.update(units="seconds since 1970-01-01", dtype="int64")
    return _with_spectra(dataset, verification, leads)


SCORE_TITLE = "geometric mean over lead steps 1 to 100, as far as verified, of the mean nRMSE"


def to_json(verification: Verification) -> dict[str, Any]:
    """Scores over all cases with their bounds, and what was left out, for machines; NaN becomes null."""
    emulators = {}
    for emulator in verification.emulators:
        lower, upper = verification.interval(emulator.label, "score")
        emulators[emulator.label] = {
            "name": emulator.name,
            "seed": emulator.seed,
            "baseline": emulator.label in verification.baselines,
            "num_cases": emulator.num_cases,
            "lead_steps": emulator.lead_steps,
            "attributes": emulator.attributes,
            "num_failed": by_variable(verification, emulator.failed.T),
            "metrics": {name: _estimates(verification, emulator, name) for name in emulator.metrics},
            "score": {
                name: {"value": value, "lower": low, "upper": high}
                for name, value, low, high in zip(verification.variables, emulator.score(), lower, upper, strict=True)
            },
            "wind": _wind(emulator),
            "stable_steps": by_variable(verification, emulator.mean_stable_steps),
            "stable_to_the_end": by_variable(verification, emulator.censored.sum(0)),
            "skill": {
                b: _contrast(verification, emulator.label, b, "skill") for b in verification.rivals_of(emulator.label)
            },
            "rmse_minus": {
                b: _contrast(verification, emulator.label, b, "difference")
                for b in verification.rivals_of(emulator.label)
            },
        }
    first = verification.emulators[0]
    return _plain(
        {
            "variables": dict(zip(verification.variables, verification.units, strict=True)),
            "mesh": verification.mesh.describe(),
            "time_step": str(verification.time_step),
            "truth": verification.truth,
            "truth_std": by_variable(verification, verification.scale),
            "stable_threshold": verification.threshold,
            "baselines": verification.baselines,
            "intervals": {
                "level": verification.level,
                "method": verification.resamples(first).describe(),
                "seed": verification.bootstrap_seed,
            },
            "equivalent_truncation": {
                label: {str(step): str(worth) for step, worth in own.items()}
                for label, own in equivalents(verification).items()
            },
            "left_out": verification.left_out,
            "emulators": emulators,
        }
    )


def write_tables(verification: Verification, output: Path) -> list[Path]:
    """scores.nc, scores.json, table.parquet and table.csv in the folder `output`."""
    table = tidy_table(verification)
    paths = [output / name for name in ("scores.nc", "scores.json", "table.parquet", "table.csv")]
    dataset = to_dataset(verification)
    floats = {name: {"zlib": True} for name, array in dataset.data_vars.items() if array.dtype.kind == "f"}
    with system_errors(paths[0], dataset.nbytes):
        dataset.to_netcdf(paths[0], engine="netcdf4", encoding=floats)
    paths[1].write_text(json.dumps(to_json(verification), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    table.to_parquet(paths[2], index=False)
    table.to_csv(paths[3], index=False, float_format="%.7g")
    return paths


def by_variable(verification: Verification, values: Any) -> dict[str, Any]:
    """Values [variable, ...] by the variable's name."""
    return dict(zip(verification.variables, values, strict=True))


def _keys(emulator: ForecastScores) -> list[tuple[int, int]]:
    return list(zip(emulator.init_time.tolist(), emulator.trajectory.tolist(), strict=True))


def _estimates(verification: Verification, emulator: ForecastScores, metric: str) -> dict[str, Any]:
    lower, upper = verification.interval(emulator.label, metric)
    mean = emulator.mean(metric)
    return {
        name: {"value": mean[:, k], "lower": lower[:, k], "upper": upper[:, k]}
        for k, name in enumerate(verification.variables)
    }


def _wind(emulator: ForecastScores) -> dict[str, Any] | None:
    """Of a wind on the whole sphere its vector error and its energy by lead; see `FlowScores`."""
    flow = emulator.flow
    if flow is None:
        return None
    return {
        "components": flow.names,
        "units": flow.units,
        "vector_rmse": flow.vector_rmse,
        "energy_ratio": flow.energy_ratio,
        "energy_by_degree": flow.spectrum,
        "truth_energy_by_degree": flow.truth_spectrum,
    }


def _contrast(verification: Verification, label: str, other: str, kind: str) -> dict[str, Any]:
    found = verification.skill(label, other) if kind == "skill" else verification.difference(label, other)
    return {
        "lead_steps": found.lead_steps,
        **{
            name: {"value": found.estimate[:, k], "lower": found.lower[:, k], "upper": found.upper[:, k]}
            for k, name in enumerate(verification.variables)
        },
    }


def _with_spectra(dataset: xr.Dataset, verification: Verification, leads: NDArray[np.int64]) -> xr.Dataset:
    """Add power [emulator, lead, wavenumber, variable] of forecasts, and of the truth on the same cases."""
    axis = verification.wavenumbers
    if axis is None or all(e.power is None for e in verification.emulators):
        return dataset
    size = (2, len(verification.emulators), len(leads), len(axis.wavenumber), len(verification.variables))
    power = np.full(size, np.nan)
    for number, emulator in enumerate(verification.emulators):
        if emulator.power is not None:
            lead = np.searchsorted(leads, emulator.lead_steps)
            power[0, number, lead], power[1, number, lead] = emulator.power, emulator.truth_power
    dims = ("emulator", "lead", "wavenumber", "variable")
    return dataset.assign_coords(
        wavenumber=("wavenumber", axis.wavenumber, {"long_name": axis.label}),
        wavelength=("wavenumber", axis.wavelength, {"units": axis.length_units}),
    ).assign(power=(dims, power[0]), truth_power=(dims, power[1]))


def _plain(value: Any) -> Any:
    """Arrays as lists and NaN as null, all the way down."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
