"""All scores of a verification as one labelled dataset, from which tables and files are written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emulator.foundation.time_step import TimeStep, to_datetime
from inference.scores.equivalent_truncation import equivalents
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification

if TYPE_CHECKING:
    import xarray as xr

SCORE_TITLE = "geometric mean over lead steps 1 to 100, as far as verified, of the mean nRMSE"
Places = Mapping[str, ArrayLike]
BY_CASE = ("emulator", "case", "lead", "variable")
BY_LEAD = ("emulator", "lead", "variable")


@lru_cache(maxsize=1)
def to_dataset(verification: Verification) -> xr.Dataset:
    """Return everything as labelled arrays: means, bounds and counts over cases, contrasts, and scores case by case.

    Cases and leads are the union over emulators, NaN where an emulator has none. What is no array stands in the
    attribute `verification`, a dictionary. The latest is kept, since a report asks for it several times.
    """
    import xarray as xr

    emulators, axis = verification.emulators, verification.wavenumbers
    keys = sorted({key for emulator in emulators for key in _keys(emulator)})
    place_of = {key: index for index, key in enumerate(keys)}
    leads = np.unique(np.concatenate([emulator.lead_steps for emulator in emulators]))
    facts = _facts(verification)  # first, while the first emulator's resamples are those at hand
    arrays = _Arrays(verification, len(keys), leads)
    for number, emulator in enumerate(emulators):
        cases = np.array([place_of[key] for key in _keys(emulator)])
        places: dict[str, ArrayLike] = {
            "emulator": [number],
            "case": cases,
            "lead": np.searchsorted(leads, emulator.lead_steps),
        }
        _put_scores(arrays, verification, emulator, places)
        for place, baseline in enumerate(verification.baselines):
            if baseline != emulator.label:
                _put_contrasts(arrays, verification, emulator.label, baseline, {**places, "baseline": [place]})
    labels = [emulator.label for emulator in emulators]
    for label, worths in equivalents(verification).items():
        places = {"emulator": [labels.index(label)], "lead": np.searchsorted(leads, list(worths))}
        texts = [str(worth) for worth in worths.values()]
        arrays.put("equivalent_truncation", ("emulator", "lead"), places, texts, "truncation of a solver as good")
    lead_values, lead_label = verification.time_step.lead_axis(leads)
    init_time, trajectory = (np.array(values, dtype=np.int64) for values in zip(*keys, strict=True))
    dataset = xr.Dataset(
        arrays.variables,
        coords={
            "emulator": labels,
            "name": ("emulator", [emulator.name for emulator in emulators]),
            "seed": ("emulator", [emulator.seed for emulator in emulators]),
            "variable": list(verification.variables),
            "units": ("variable", list(verification.units)),
            "truth_std": ("variable", verification.scale),
            "lead": ("lead", leads, {"long_name": "time steps since the initial time"}),
            "lead_time": ("lead", lead_values, {"long_name": lead_label}),
            "init_time": ("case", to_datetime(init_time)),
            "trajectory": ("case", trajectory),
            "case_name": ("case", case_names(init_time, trajectory, verification.time_step)),
            **({"baseline": list(verification.baselines)} if verification.baselines else {}),
        },
        attrs={"title": "Forecast scores", "time_step": str(verification.time_step), **verification.truth},
    )
    dataset.attrs["verification"] = facts
    dataset["init_time"].encoding.update(units="seconds since 1970-01-01", dtype="int64")
    if axis is None or "power" not in dataset:
        return dataset
    return dataset.assign_coords(
        wavenumber=("wavenumber", axis.wavenumber, {"long_name": axis.label}),
        wavelength=("wavenumber", axis.wavelength, {"units": axis.length_units}),
    )


def case_names(init_time: NDArray[np.int64], trajectory: NDArray[np.int64], time_step: TimeStep) -> list[str]:
    """Return a name of each case: its initial time, its trajectory, or both."""
    names = []
    for start, index in zip(init_time.tolist(), trajectory.tolist(), strict=True):
        nominal = time_step.true_length is not None
        moment = f"step {start // time_step.count}" if nominal else str(to_datetime(np.asarray(start)))
        names.append(moment if index < 0 else f"trajectory {index}, {moment}")
    return names


class _Arrays:
    """Arrays over all emulators as they are filled, NaN or empty where an emulator has no value."""

    def __init__(self, verification: Verification, num_cases: int, leads: NDArray[np.int64]) -> None:
        emulators, axis = verification.emulators, verification.wavenumbers
        self.leads = leads
        self.sizes = {
            "emulator": len(emulators),
            "case": num_cases,
            "member": max(0 if e.member_mse is None else e.member_mse.shape[1] for e in emulators),
            "lead": len(leads),
            "variable": len(verification.variables),
            "baseline": len(verification.baselines),
            "wavenumber": 0 if axis is None else len(axis.wavenumber),
            "degree": max(0 if e.flow is None else e.flow.spectrum.shape[-1] for e in emulators),
        }
        self.variables: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {}

    def put(
        self, name: str, dims: tuple[str, ...], places: Places, values: ArrayLike, title: str, **attributes: Any
    ) -> None:
        """Write values at these places along the dimensions; along others they are whole."""
        if name not in self.variables:
            empty: Any = "" if isinstance(values, list) else np.nan
            array = np.full([self.sizes[dim] for dim in dims], empty, dtype=object if empty == "" else np.float64)
            self.variables[name] = dims, array, {"long_name": title, **attributes}
        array = self.variables[name][1]
        index = np.ix_(*(np.asarray(places.get(dim, np.arange(self.sizes[dim]))) for dim in dims))
        array[index] = np.reshape(values, array[index].shape)


def _put_scores(arrays: _Arrays, verification: Verification, emulator: ForecastScores, places: Places) -> None:
    """Write everything but what compares with a baseline."""

    def put(name: str, dims: tuple[str, ...], values: ArrayLike, title: str, **attributes: Any) -> None:
        arrays.put(name, dims, places, values, title, **attributes)

    def bounded(name: str, dims: tuple[str, ...], values: ArrayLike, title: str, **attributes: Any) -> None:
        put(name, dims, values, title, **attributes)
        for bound, values in zip(("lower", "upper"), verification.interval(emulator.label, name), strict=True):
            put(f"{name}_{bound}", dims, values, f"{title}, {bound} bound of its interval")

    for name in emulator.metrics:
        metric = METRICS[name]
        about = {"better": metric.better, "perfect": metric.perfect, "units": metric.unit}
        known = {key: value for key, value in about.items() if value is not None}
        bounded(name, BY_LEAD, emulator.mean(name), metric.title, **known)
        put(f"case_{name}", BY_CASE, emulator.case_values(name), f"{metric.title} of each case")
    put("num_starts", ("emulator",), emulator.num_cases, "cases forecast")
    put("num_cases", BY_LEAD, emulator.verified.sum(0), "cases verified")
    put("num_failed", BY_LEAD, emulator.failed, "cases whose forecast failed")
    bounded("score", ("emulator", "variable"), emulator.score(), SCORE_TITLE)
    title = f"steps before RMSE / std passes {verification.threshold:g}"
    put("stable_steps", ("emulator", "case", "variable"), emulator.stable_steps, title)
    put("mean_stable_steps", ("emulator", "variable"), emulator.mean_stable_steps, f"mean over cases of {title}")
    put("stable_to_the_end", ("emulator", "variable"), emulator.censored.sum(0), "cases that never pass it")
    if emulator.member_mse is not None:
        member = {**places, "member": np.arange(emulator.member_mse.shape[1])}
        values = np.sqrt(emulator.member_mse)
        arrays.put("member_rmse", ("emulator", "case", "member", *BY_LEAD[1:]), member, values, "RMSE of each member")
    for name, power in (("power", emulator.power), ("truth_power", emulator.truth_power)):
        if power is not None:
            title = "power of the forecast" if name == "power" else "power of the truth on the same cases"
            put(name, ("emulator", "lead", "wavenumber", "variable"), power, title)
    if (flow := emulator.flow) is not None:
        put("vector_rmse", ("emulator", "lead"), flow.vector_rmse, "RMSE of the wind vector", units=flow.units)
        put("energy_ratio", ("emulator", "lead"), flow.energy_ratio, "kinetic energy over the truth's", units="1")
        for prefix, spectrum in (("", flow.spectrum), ("truth_", flow.truth_spectrum)):
            put(f"{prefix}energy_by_degree", ("emulator", "lead", "degree"), spectrum, "kinetic energy by degree")


def _put_contrasts(arrays: _Arrays, verification: Verification, label: str, baseline: str, places: Places) -> None:
    """Write skill and difference against a baseline, at the lead times both have."""
    skill, difference = verification.skill(label, baseline), verification.difference(label, baseline)
    for name, found, title in (
        ("skill", skill, "skill in RMSE"),
        ("rmse_minus", difference, "RMSE minus the baseline's"),
    ):
        lead = {**places, "lead": np.searchsorted(arrays.leads, found.lead_steps)}
        for suffix, values in (("", found.estimate), ("_lower", found.lower), ("_upper", found.upper)):
            arrays.put(f"{name}{suffix}", ("emulator", "baseline", "lead", "variable"), lead, values, title)


def _facts(verification: Verification) -> dict[str, Any]:
    """Return what is no array: of the whole verification, and of each emulator."""
    return {
        "mesh": verification.mesh.describe(),
        "time_step": str(verification.time_step),
        "truth": dict(verification.truth),
        "stable_threshold": verification.threshold,
        "baselines": list(verification.baselines),
        "intervals": {
            "level": verification.level,
            "method": verification.interval_method,
            "seed": verification.bootstrap_seed,
        },
        "left_out": list(verification.left_out),
        "emulators": {
            emulator.label: {
                "attributes": dict(emulator.attributes),
                "metrics": list(emulator.metrics),
                "wind": None if (flow := emulator.flow) is None else {"components": flow.names, "units": flow.units},
            }
            for emulator in verification.emulators
        },
    }


def _keys(emulator: ForecastScores) -> list[tuple[int, int]]:
    return list(zip(emulator.init_time.tolist(), emulator.trajectory.tolist(), strict=True))
