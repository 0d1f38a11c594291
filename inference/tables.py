"""Scores as files: one tidy table, NetCDF and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.atomic_file import system_errors
from emulator.time_step import TimeStep, to_datetime
from inference.scorecard import METRICS, ForecastScores, Verification

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

COLUMNS = ("emulator", "seed", "case", "member", "lead", "variable", "metric", "value")


def tidy_table(verification: Verification) -> pd.DataFrame:
    """One row a number: emulator, seed, case, member, lead, variable, metric, value.

    A score over all cases has no case, one over all members no member, and one over all leads no lead. `lead` counts
    time steps. Interval bounds are metrics of their own, such as `rmse_lower`; so are `skill_vs_NAME` and the paired
    difference `rmse_minus_NAME`.
    """
    import pandas as pd

    table = pd.concat([pd.DataFrame(part) for part in _parts(verification)], ignore_index=True)
    table = table[np.isfinite(table["value"])].reset_index(drop=True)
    for column in ("member", "lead"):
        table[column] = table[column].astype("Int64")
    for column in ("emulator", "seed", "case", "variable", "metric"):
        table[column] = table[column].astype("category")
    return table[list(COLUMNS)]


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
            values = emulator.values[METRICS[metric].source]
            values = np.sqrt(values) if METRICS[metric].root else values
            dims = ("emulator", "case", "lead", "variable")
            put(f"case_{metric}", dims, (number, *np.ix_(cases, lead)), values, f"{title} of each case")
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
            "stable_steps": by_variable(verification, _mean_stable(emulator)),
            "stable_to_the_end": by_variable(verification, emulator.censored.sum(0)),
            "skill": {b: _contrast(verification, emulator.label, b, "skill") for b in _others(verification, emulator)},
            "rmse_minus": {
                b: _contrast(verification, emulator.label, b, "difference") for b in _others(verification, emulator)
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


def case_names(init_time: NDArray[np.int64], trajectory: NDArray[np.int64], time_step: TimeStep) -> list[str]:
    """A name a case: its initial time, its trajectory, or both."""
    names = []
    for start, index in zip(init_time.tolist(), trajectory.tolist(), strict=True):
        nominal = time_step.true_length is not None
        moment = f"step {start // time_step.count}" if nominal else str(to_datetime(np.asarray(start)))
        names.append(moment if index < 0 else f"trajectory {index}, {moment}")
    return names


def by_variable(verification: Verification, values: Any) -> dict[str, Any]:
    """Values [variable, ...] by the variable's name."""
    return dict(zip(verification.variables, values, strict=True))


def _parts(verification: Verification) -> Iterator[dict[str, Any]]:
    """Columns of the tidy table, piece by piece."""
    variables = np.array(verification.variables, dtype=object)
    for emulator in verification.emulators:
        names = np.array(case_names(emulator.init_time, emulator.trajectory, verification.time_step), dtype=object)
        rows = _Rows(emulator, {"case": names, "lead": emulator.lead_steps, "variable": variables})
        for metric in emulator.metrics:
            about = METRICS[metric]
            values = emulator.values[about.source]
            yield rows.part(metric, np.sqrt(values) if about.root else values, "case", "lead", "variable")
            lower, upper = verification.interval(emulator.label, metric)
            yield from rows.bounded(metric, emulator.mean(metric), lower, upper, "lead", "variable")
        if emulator.member_mse is not None:
            yield rows.part("rmse", np.sqrt(emulator.member_mse), "case", "member", "lead", "variable")
        yield rows.part("stable_steps", emulator.stable_steps, "case", "variable")
        yield rows.part("stable_steps", _mean_stable(emulator), "variable")
        yield rows.part("num_failed", emulator.failed.astype(np.float64), "lead", "variable")
        lower, upper = verification.interval(emulator.label, "score")
        yield from rows.bounded("score", emulator.score(), lower, upper, "variable")
        for other in _others(verification, emulator):
            for name, found in (
                (f"skill_vs_{other}", verification.skill(emulator.label, other)),
                (f"rmse_minus_{other}", verification.difference(emulator.label, other)),
            ):
                shared = _Rows(emulator, {"lead": found.lead_steps, "variable": variables})
                yield from shared.bounded(name, found.estimate, found.lower, found.upper, "lead", "variable")


@dataclass(frozen=True, eq=False)
class _Rows:
    """Turns arrays of one emulator into rows; `axes` names what stands along each dimension, else its index does."""

    emulator: ForecastScores
    axes: Mapping[str, NDArray[Any]]

    def part(self, metric: str, values: NDArray[Any], *dims: str) -> dict[str, Any]:
        import pandas as pd

        along = [self.axes.get(dim, np.arange(size)) for dim, size in zip(dims, values.shape, strict=True)]
        grid = dict(zip(dims, np.meshgrid(*along, indexing="ij"), strict=True))
        columns = {"case": None, "member": pd.NA, "lead": pd.NA} | {dim: axis.ravel() for dim, axis in grid.items()}
        # The name and the seed tell emulators apart, unless a number had to.
        name = self.emulator.label if "#" in self.emulator.label else self.emulator.name
        return {"emulator": name, "seed": self.emulator.seed, **columns, "metric": metric, "value": values.ravel()}

    def bounded(
        self, metric: str, values: NDArray[Any], lower: NDArray[Any], upper: NDArray[Any], *dims: str
    ) -> Iterator[dict[str, Any]]:
        """A score over cases with the bounds of its interval."""
        for name, part in ((metric, values), (f"{metric}_lower", lower), (f"{metric}_upper", upper)):
            yield self.part(name, part, *dims)


def _keys(emulator: ForecastScores) -> list[tuple[int, int]]:
    return list(zip(emulator.init_time.tolist(), emulator.trajectory.tolist(), strict=True))


def _others(verification: Verification, emulator: ForecastScores) -> list[str]:
    """The baselines an emulator is measured against."""
    return [label for label in verification.baselines if label != emulator.label]


def _mean_stable(emulator: ForecastScores) -> NDArray[np.float64]:
    """[variable] mean over cases of the stable steps."""
    there = ~np.isnan(emulator.stable_steps)
    return np.where(there, emulator.stable_steps, 0.0).sum(0) / np.maximum(there.sum(0), 1)


def _estimates(verification: Verification, emulator: ForecastScores, metric: str) -> dict[str, Any]:
    lower, upper = verification.interval(emulator.label, metric)
    mean = emulator.mean(metric)
    return {
        name: {"value": mean[:, k], "lower": lower[:, k], "upper": upper[:, k]}
        for k, name in enumerate(verification.variables)
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
