"""How far a scenario's lines and bands can be trusted: both beside the test part, once the training is over."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.build import TrainedEmulator
from emulator.data.forcing_sources import PATHWAY, forcings_of
from emulator.variability import Variability
from graphs.mesh import Mesh
from inference.scenarios.regions import RegionMeans, read_regions, region_means
from inference.scenarios.scenario import years_of
from inference.scenarios.summary import BAND, SPAN
from training.preparation.prepared import Prepared
from training.runs.variability import free_series

Array = NDArray[np.float64]
REGIONS = ("global", "land", "sea", "north", "south", "ar6")
MEMBERS = 200


@dataclass(frozen=True)
class ScenarioTest:
    """A free rollout over the test part beside its truth, of the first variable.

    first, last: years. mean_error: root of the mean, over area and rows, of the squared error of the mean over all of
        them [units of the variable]; global_error: the largest of a row's global mean. yearly_error: of single steps.
    pathway: whose forcing it was under; empty where none is named.
    coverage: share of regional means of single steps that lie between the 5th and the 95th percentile of members.
    long_coverage: the same of means over 20 years; None where the part has fewer.
    """

    variable: str
    units: str
    first: int
    last: int
    mean_error: float
    global_error: float
    yearly_error: float
    coverage: float
    long_coverage: float | None
    pathway: str = ""


def refuse_untestable(prepared: Prepared) -> None:
    """Raise MeshcastError, before anything is trained, where the test part's forcings are not to be had."""
    split = prepared.config.data.test
    if split is not None and prepared.config.variability is not None:
        fields = split.open(keep_in_memory=False)
        forcings_of(prepared.task, fields.mesh, fields, prepared.config.data.tables_of(split))


def with_scenario_test(prepared: Prepared, trained: TrainedEmulator) -> TrainedEmulator:
    """Return a trained emulator with what its test part says of its scenarios; as it is without one."""
    split, mesh = prepared.config.data.test, trained.emulator.mesh
    if split is None or trained.variability is None or mesh.domain.kind != "sphere":
        return trained
    fields, task = split.open(), trained.emulator.task
    forcings = forcings_of(task, mesh, fields, prepared.config.data.tables_of(split))
    available = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    times, truth, expected = free_series(
        trained.emulator, fields, forcings, available, list(range(fields.ensemble_size))
    )
    years = years_of(times)
    errors = scenario_errors(truth[..., 0], expected[..., 0], mesh)
    shares = coverage_of(trained.variability, times, truth, expected, region_means(read_regions(list(REGIONS)), mesh))
    variable = task.predicted[0]
    tables = prepared.config.data.tables_of(split)
    pathway = ", ".join(table.removeprefix(PATHWAY) for table in tables if table.startswith(PATHWAY))
    test = ScenarioTest(variable.name, variable.units, int(years[0]), int(years[-1]), *errors, *shares, pathway)
    known: dict[str, Any] = {**trained.metadata, "scenario_test": asdict(test)}
    return replace(trained, metadata=known)


def scenario_errors(truth: Array, expected: Array, mesh: Mesh) -> tuple[float, float, float]:
    """Return mean_error, global_error and yearly_error of `ScenarioTest`, of [row, time, node]."""
    there = ~np.isnan(truth).all(axis=(0, 1))
    areas = mesh.areas[there] / mesh.areas[there].sum()
    error = (expected - truth)[..., there]
    mean = np.nanmean(error, axis=1)
    return (
        float(np.sqrt((mean**2 @ areas).mean())),
        float(np.abs(mean @ areas).max()),
        float(np.sqrt(np.nanmean(error**2 @ areas))),
    )


def coverage_of(
    variability: Variability, times: NDArray[np.int64], truth: Array, expected: Array, means: RegionMeans, seed: int = 0
) -> tuple[float, float | None]:
    """Return the shares of regional means of truth [row, time, node, predicted] within 5 to 95 %.

    Of single steps, and of means over 20 years in a row, None where there are fewer; of the first variable, against
    members drawn about each row's own expectation.
    """
    inside: list[NDArray[np.bool_]] = []
    inside_long: list[NDArray[np.bool_]] = []
    years, place = np.unique(years_of(times), return_inverse=True)
    spans = place // SPAN
    whole = np.flatnonzero(np.bincount(np.arange(len(years)) // SPAN) == SPAN)
    for row, of_row in enumerate(expected):
        generator = np.random.default_rng([seed, row])
        drawn = [
            means.of(variability.applied(times, of_row, variability.draw(len(times), 1, generator)[0])[..., 0])
            for _ in range(MEMBERS)
        ]
        members, seen = np.stack(drawn), means.of(truth[row, ..., 0])
        known = np.asarray(~np.isnan(seen).all(axis=1))
        inside.append(_within(members, seen)[known])
        for span in whole:
            there = np.asarray(spans == span)
            if known[there].all():
                inside_long.append(_within(members[:, there].mean(axis=1), seen[there].mean(axis=0)))
    long = float(np.concatenate(inside_long).mean()) if inside_long else None
    return float(np.concatenate(inside).mean()), long


def _within(members: Array, seen: Array) -> NDArray[np.bool_]:
    low, high = np.percentile(members, BAND, axis=0)
    return np.asarray((seen >= low) & (seen <= high))
