"""The files of a verification, all written from one dataset: NetCDF, JSON, and a tidy table with one number a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emulator.data.forecast_netcdf import conventions
from graphs.atomic_file import atomic_file, system_errors, write_text
from inference.scores.dataset import to_dataset
from inference.scores.metrics import METRICS
from inference.scores.scorecard import Verification

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

PLACES = ("emulator", "case", "member", "lead", "variable")
WIND = ("vector_rmse", "energy_ratio", "energy_by_degree", "truth_energy_by_degree")


def to_json(verification: Verification) -> dict[str, Any]:
    """Return scores over all cases with their bounds, and what was left out, for machines; NaN becomes null."""
    dataset = to_dataset(verification)
    facts = dict(dataset.attrs["verification"])
    about = facts.pop("emulators")
    variables, left_out = dataset["variable"].values, facts.pop("left_out")
    truncations = dataset.get("equivalent_truncation")
    found = {
        "variables": dict(zip(variables, dataset["units"].values, strict=True)),
        **{name: facts.pop(name) for name in ("mesh", "time_step", "truth")},
        "truth_std": dict(zip(variables, dataset["truth_std"].values, strict=True)),
        **facts,
        "equivalent_truncation": {
            label: {int(step): text for step, text in zip(dataset["lead"], texts, strict=True) if text}
            for label, texts in zip(about, [] if truncations is None else truncations.values, strict=False)
            if texts.any()
        },
        "left_out": left_out,
        "emulators": {label: _of_emulator(dataset, label, **known) for label, known in about.items()},
    }
    return dict(_plain(found))


def tidy_table(verification: Verification) -> pd.DataFrame:
    """Return a table with one number a row: emulator, seed, case, member, lead, variable, metric, value.

    A score over all cases has no case, one over all members no member, and one over all leads no lead. `lead` counts
    time steps. Interval bounds are separate metrics, such as `rmse_lower`; so are `skill_vs_NAME` and the paired
    difference `rmse_minus_NAME`.
    """
    import pandas as pd

    dataset = to_dataset(verification)
    labels = dataset["emulator"].values
    # The name and the seed tell emulators apart, unless a number had to.
    names = np.where(np.char.find(labels.astype(str), "#") < 0, dataset["name"].values, labels)
    metrics, arrays = zip(*_listed(dataset), strict=True)
    by_metric = [_found(array) for array in arrays]
    places = {dim: np.concatenate([found[dim] for found in by_metric]) for dim in ("value", *PLACES)}
    order = np.argsort(places["emulator"], kind="stable")
    value, emulator, case, member, lead, variable = (values[order] for values in places.values())
    metric = np.repeat(np.arange(len(by_metric)), [len(found["value"]) for found in by_metric])[order]

    def category(known: ArrayLike, index: NDArray[np.int64]) -> pd.Categorical:
        labels = pd.Categorical(np.asarray(known, dtype=object))
        return pd.Categorical.from_codes(np.where(index < 0, -1, labels.codes[index]), labels.categories)

    def number(known: NDArray[np.int64], index: NDArray[np.int64]) -> pd.arrays.IntegerArray:
        return pd.arrays.IntegerArray(known[index], index < 0)

    columns = {
        "emulator": category(names, emulator),
        "seed": category(dataset["seed"].values, emulator),
        "case": category(dataset["case_name"].values, case),
        "member": number(np.arange(dataset.sizes.get("member", 1)), member),
        "lead": number(dataset["lead"].values, lead),
        "variable": category(dataset["variable"].values, variable),
        "metric": category(metrics, metric),
        "value": value,
    }
    return pd.DataFrame(columns)


def write_tables(verification: Verification, output: Path) -> list[Path]:
    """Write scores.nc, scores.json, table.parquet and table.csv into the folder `output`."""
    import pyarrow as pa
    from pyarrow import csv

    dataset = to_dataset(verification)
    table = tidy_table(verification)
    paths = [output / name for name in ("scores.nc", "scores.json", "table.parquet", "table.csv")]
    facts = json.dumps(_plain(dataset.attrs["verification"]), ensure_ascii=False)
    written = dataset.assign_attrs(verification=facts, **conventions())
    encoding: dict[Any, Any] = {name: {"_FillValue": None} for name in dataset.coords}  # CF: a coordinate lacks nothing
    encoding |= {name: {"zlib": True} for name, array in dataset.data_vars.items() if array.dtype.kind == "f"}
    with atomic_file(paths[0]) as temporary, system_errors(temporary, dataset.nbytes):
        written.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    text = json.dumps(to_json(verification), ensure_ascii=False, allow_nan=False) + "\n"
    write_text(paths[1], text)
    with atomic_file(paths[2]) as temporary:
        table.to_parquet(temporary, index=False)
    short = pa.Table.from_pandas(table.assign(value=_to_digits(table["value"].to_numpy(), 7)), preserve_index=False)
    with atomic_file(paths[3]) as temporary:
        csv.write_csv(short, temporary)
    return paths


def _of_emulator(
    dataset: xr.Dataset, label: str, attributes: dict[str, str], metrics: list[str], wind: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what JSON holds of one emulator, at the lead times it forecasts."""
    labels, baselines = dataset["emulator"].values.tolist(), dataset.attrs["verification"]["baselines"]
    forecast = dict(zip(labels, np.isfinite(dataset["num_cases"].values[..., 0]), strict=True))  # [lead] of each
    every = dataset.isel(emulator=labels.index(label))
    scores = every.isel(lead=forecast[label])

    def contrasts(name: str) -> dict[str, Any]:
        found = {}
        for place, baseline in enumerate(baselines):
            if baseline != label:
                arrays = every[[name, f"{name}_lower", f"{name}_upper"]]
                shared = arrays.isel(baseline=place, lead=forecast[label] & forecast[baseline])
                found[baseline] = {"lead_steps": shared["lead"].values, **_bounded(shared, name)}
        return found

    return {
        "name": scores["name"].item(),
        "seed": scores["seed"].item(),
        "baseline": label in baselines,
        "num_cases": int(scores["num_starts"]),
        "lead_steps": scores["lead"].values,
        "attributes": attributes,
        "num_failed": _by_variable(scores["num_failed"].astype(int)),
        "metrics": {metric: _bounded(scores, metric) for metric in metrics},
        "score": _bounded(scores, "score"),
        "wind": None if wind is None else wind | {name: scores[name].values for name in WIND},
        "stable_steps": _by_variable(scores["mean_stable_steps"]),
        "stable_to_the_end": _by_variable(scores["stable_to_the_end"].astype(int)),
        "skill": contrasts("skill"),
        "rmse_minus": contrasts("rmse_minus"),
    }


def _by_variable(array: xr.DataArray) -> dict[str, NDArray[Any]]:
    return dict(zip(array["variable"].values, array.transpose("variable", ...).values, strict=True))


def _bounded(dataset: xr.Dataset, name: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Return value and bounds of a score by variable."""
    ends = {"value": name, "lower": f"{name}_lower", "upper": f"{name}_upper"}
    found = {end: _by_variable(dataset[array]) for end, array in ends.items()}
    return {variable: {end: found[end][variable] for end in ends} for variable in found["value"]}


def _plain(value: Any) -> Any:
    """Return arrays as lists and NaN as null, all the way down."""
    if isinstance(value, np.ndarray):
        plain = value.astype(object)
        if value.dtype.kind == "f":
            plain[~np.isfinite(value)] = None
        return plain.tolist()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _to_digits(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Return finite numbers rounded to significant digits, as the shortest text of each then has."""
    with np.errstate(divide="ignore"):
        power = digits - 1 - np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** np.abs(np.where(np.isfinite(power), power, 0.0))  # whole, so that a quotient is rounded once
    return np.where(power >= 0, np.round(values * scale) / scale, np.round(values / scale) * scale)


def _found(array: xr.DataArray) -> dict[str, NDArray[Any]]:
    """Return the finite numbers of an array, and the place of each along every dimension, -1 where it has none."""
    values = array.values
    where = np.nonzero(np.isfinite(values))
    nowhere = np.full(len(where[0]), -1)
    return {
        "value": values[where],
        **dict.fromkeys(PLACES, nowhere),
        **dict(zip(map(str, array.dims), where, strict=True)),
    }


def _listed(dataset: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the arrays that the table holds, each with its metric's name there."""
    bounds = ("", "_lower", "_upper")
    for metric in METRICS:
        if metric in dataset:
            yield metric, dataset[f"case_{metric}"]
            yield from ((f"{metric}{bound}", dataset[f"{metric}{bound}"]) for bound in bounds)
    if "member_rmse" in dataset:
        yield "rmse", dataset["member_rmse"]
    yield "stable_steps", dataset["stable_steps"]
    yield "stable_steps", dataset["mean_stable_steps"]
    for name in ("num_failed", "score", "score_lower", "score_upper"):
        yield name, dataset[name]
    for baseline in dataset.attrs["verification"]["baselines"] if "skill" in dataset else ():
        for name, metric in (("skill", "skill_vs"), ("rmse_minus", "rmse_minus")):
            for bound in bounds:
                yield f"{metric}_{baseline}{bound}", dataset[f"{name}{bound}"].sel(baseline=baseline)
