"""All scores of a verification stand in one labelled dataset, from which tables and files are written."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emulator.foundation.time_step import TimeStep, to_datetime
from inference.scores.equivalent_truncation import equivalents
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification
from inference.scores.spread import collapsed

if TYPE_CHECKING:
    import xarray as xr

SCORE_TITLE = "geometric mean over lead steps 1 to 100, as far as verified, of the mean nRMSE"
BY_LEAD = ("lead", "variable")


@lru_cache(maxsize=1)
def to_dataset(verification: Verification) -> xr.Dataset:
    """Return everything as labelled arrays: means, bounds and counts over cases, contrasts, and scores case by case.

    Cases and leads are the union over emulators, NaN where an emulator has none. What is no array stands in the
    attribute `verification`, a dictionary. The latest is kept, since a report asks for it several times.
    """
    import xarray as xr

    emulators, axis = verification.emulators, verification.wavenumbers
    facts = _facts(verification)  # first, while the first emulator's resamples are those at hand
    keys = sorted({key for emulator in emulators for key in emulator.keys})
    truncations = equivalents(verification)
    datasets = []
    for emulator in emulators:
        found = _scores(verification, emulator).assign_coords(case=[keys.index(key) for key in emulator.keys])
        if contrasts := _contrasts(verification, emulator):
            baselines = {"baseline": list(verification.baselines)}
            found = found.merge(xr.concat(contrasts, "baseline", join="outer").reindex(baselines), join="outer")
        if truncations:
            by_step = truncations.get(emulator.label, {})
            texts = np.array([str(by_step.get(step, "")) for step in emulator.lead_steps.tolist()], dtype=object)
            found["equivalent_truncation"] = "lead", texts, {"long_name": "truncation of a solver as good"}
        datasets.append(found)
    dataset = xr.concat(datasets, "emulator", data_vars="all", coords="minimal", join="outer").sortby("case")
    dataset = dataset.drop_vars(["case", "member", "degree"], errors="ignore")
    if truncations:
        dataset["equivalent_truncation"] = dataset["equivalent_truncation"].fillna("")
    leads = dataset["lead"].values
    lead_values, lead_label = verification.time_step.lead_axis(leads)
    init_time, trajectory = (np.array(values, dtype=np.int64) for values in zip(*keys, strict=True))
    dataset = dataset.assign_coords(
        {
            "emulator": [emulator.label for emulator in emulators],
            "name": ("emulator", [emulator.name for emulator in emulators]),
            "seed": ("emulator", [emulator.seed for emulator in emulators]),
            "units": ("variable", list(verification.units)),
            "truth_std": ("variable", verification.scale, {"long_name": "standard deviation of the truth"}),
            "lead": ("lead", leads, {"long_name": "time steps since the initial time"}),
            "lead_time": ("lead", lead_values, {"long_name": lead_label}),
            "init_time": ("case", to_datetime(init_time), {"long_name": "initial time"}),
            "trajectory": ("case", trajectory, {"long_name": "index of the simulated trajectory, -1 for real data"}),
            "case_name": ("case", case_names(init_time, trajectory, verification.time_step)),
            **({"baseline": list(verification.baselines)} if verification.baselines else {}),
        }
    )
    dataset.attrs = {"title": "Forecast scores", "time_step": str(verification.time_step), **verification.truth}
    dataset.attrs["verification"] = facts
    dataset["init_time"].encoding.update(units="seconds since 1970-01-01", dtype="int64")
    if axis is None or "power" not in dataset:
        return dataset
    return dataset.assign_coords(
        wavenumber=("wavenumber", axis.wavenumber, {"long_name": axis.label}),
        wavelength=("wavenumber", axis.wavelength, {"long_name": "wavelength", "units": axis.length_units}),
    )


def case_names(init_time: NDArray[np.int64], trajectory: NDArray[np.int64], time_step: TimeStep) -> list[str]:
    """Return a name of each case: its initial time, its trajectory, or both."""
    names = []
    for start, index in zip(init_time.tolist(), trajectory.tolist(), strict=True):
        nominal = time_step.true_length is not None
        moment = f"step {start // time_step.count}" if nominal else str(to_datetime(np.asarray(start)))
        names.append(moment if index < 0 else f"trajectory {index}, {moment}")
    return names


def _scores(verification: Verification, emulator: ForecastScores) -> xr.Dataset:
    """Return the scores of one emulator, but those that compare it with others."""
    import xarray as xr

    arrays: dict[str, Any] = {}

    def put(name: str, dims: tuple[str, ...], values: ArrayLike, title: str, **attributes: Any) -> None:
        arrays[name] = dims, np.asarray(values, dtype=np.float64), {"long_name": title, **attributes}

    def bounded(name: str, dims: tuple[str, ...], values: ArrayLike, title: str, **attributes: Any) -> None:
        put(name, dims, values, title, **attributes)
        for bound, values in zip(("lower", "upper"), verification.interval(emulator.label, name), strict=True):
            put(f"{name}_{bound}", dims, values, f"{title}, {bound} bound of its interval")

    for name in emulator.metrics:
        metric = METRICS[name]
        about = {"better": metric.better, "perfect": metric.perfect, "units": metric.unit}
        known = {key: value for key, value in about.items() if value is not None}
        bounded(name, BY_LEAD, emulator.mean(name), metric.title, **known)
        put(f"case_{name}", ("case", *BY_LEAD), emulator.case_values(name), f"{metric.title} of each case")
    put("num_starts", (), emulator.num_cases, "cases forecast")
    put("num_cases", BY_LEAD, emulator.verified.sum(0), "cases verified")
    put("num_failed", BY_LEAD, emulator.failed, "cases whose forecast failed")
    bounded("score", ("variable",), emulator.score(), SCORE_TITLE)
    title = f"steps before RMSE / std passes {verification.threshold:g}"
    put("stable_steps", ("case", "variable"), emulator.stable_steps, title)
    put("mean_stable_steps", ("variable",), emulator.mean_stable_steps, f"mean over cases of {title}")
    put("stable_to_the_end", ("variable",), emulator.censored.sum(0), "cases that never pass it")
    if (members := emulator.member_mse) is not None:
        put("member_rmse", ("case", "member", *BY_LEAD), np.sqrt(members), "RMSE of each member")
    if emulator.power is not None and emulator.truth_power is not None:
        by_wave = ("lead", "wavenumber", "variable")
        put("power", by_wave, emulator.power, "power of the forecast")
        put("truth_power", by_wave, emulator.truth_power, "power of the truth on the same cases")
    if (flow := emulator.flow) is not None:
        put("vector_rmse", ("lead",), flow.vector_rmse, "RMSE of the wind vector", units=flow.units)
        put("energy_ratio", ("lead",), flow.energy_ratio, "kinetic energy over the truth's", units="1")
        for prefix, spectrum in (("", flow.spectrum), ("truth_", flow.truth_spectrum)):
            put(f"{prefix}energy_by_degree", ("lead", "degree"), spectrum, "kinetic energy by degree")
    dataset = xr.Dataset(arrays, coords={"lead": emulator.lead_steps, "variable": list(verification.variables)})
    # Numbers along these, so that emulators with fewer members are filled up.
    return dataset.assign_coords(
        {dim: np.arange(dataset.sizes[dim]) for dim in ("member", "degree") if dim in dataset.sizes}
    )


def _contrasts(verification: Verification, emulator: ForecastScores) -> list[xr.Dataset]:
    """Return skill and difference against each other baseline, at the lead times both have."""
    import xarray as xr

    datasets = []
    for baseline in verification.baselines:
        if baseline == emulator.label:
            continue
        skill, difference = (of(emulator.label, baseline) for of in (verification.skill, verification.difference))
        arrays = {
            f"{name}{suffix}": (BY_LEAD, values, {"long_name": title})
            for name, found, title in (
                ("skill", skill, "skill in RMSE"),
                ("rmse_minus", difference, "RMSE minus the baseline's"),
            )
            for suffix, values in (("", found.estimate), ("_lower", found.lower), ("_upper", found.upper))
        }
        coords = {"baseline": baseline, "lead": skill.lead_steps, "variable": list(verification.variables)}
        datasets.append(xr.Dataset(arrays, coords=coords))
    return datasets


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
        **({"region": verification.region} if verification.region else {}),
        **({"collapsed": sentences} if (sentences := collapsed(verification)) else {}),
        "emulators": {
            emulator.label: {
                "attributes": dict(emulator.attributes),
                "metrics": list(emulator.metrics),
                "wind": None if (flow := emulator.flow) is None else {"components": flow.names, "units": flow.units},
            }
            for emulator in verification.emulators
        },
    }
