"""Reproduction trains one row of a published comparison again, and compares its score with the interval."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emulator.build import TrainedEmulator, package_versions
from emulator.checkpoint import read
from emulator.foundation.configuration import load, read_yaml
from graphs.errors import MeshcastError, refuse_damaged
from graphs.temporary_files import discard, new_folder
from inference.comparison.record import Seed
from inference.comparison.row_scores import ranking_score
from inference.scores.verification import verify
from training.accounting import TrackingConfig
from training.comparison.configuration import CompareConfig, with_rows
from training.comparison.starts import Starts, forecast_from
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.runs.fit import fit
from training.runs.study import Result

ROUNDING = 1e-6  # relative, of a score without an interval to lie in


@dataclass(frozen=True)
class Reproduction:
    """Describes what became of a row that was trained again.

    score: of its forecasts from the published starts; None where they did not stay finite.
    published, interval: of the row in the comparison; without an interval the score must be the same.
    same_weights: bit for bit; None where the published emulator is no longer there.
    versions: packages that are not those of the published run, `theirs, now ours`.
    folder: of the new run, where it was kept.
    """

    label: str
    seed: int
    score: float | None
    published: float
    interval: tuple[float, float] | None
    same_weights: bool | None
    versions: Mapping[str, str]
    folder: str | None

    @property
    def inside(self) -> bool:
        """Return whether the score falls into the interval."""
        if self.score is None:
            return False
        if self.interval is None:
            return math.isclose(self.score, self.published, rel_tol=ROUNDING)
        return self.interval[0] <= self.score <= self.interval[1]

    def describe(self) -> str:
        """Return what came out, in a few sentences."""
        score = "no finite score" if self.score is None else f"score {self.score:.6g}"
        if self.interval is None:
            where = f"{'equal' if self.inside else 'not equal'} to {self.published:.6g}, published without an interval"
        else:
            low, high = self.interval
            where = f"{'inside' if self.inside else 'outside'} {low:.4g} to {high:.4g}, published {self.published:.6g}"
        weights = {
            True: "The weights are the same bit for bit.",
            False: "The weights are not the same.",
            None: "The published weights are no longer there to be compared.",
        }[self.same_weights]
        changed = "; ".join(f"{name} {change}" for name, change in self.versions.items())
        packages = f" Packages differ: {changed}." if changed and not self.same_weights else ""
        return f"{self.label}, seed {self.seed}: {score}, {where}. {weights}{packages}"


@dataclass(frozen=True)
class PublishedRow:
    """What is read of a row of comparison.json."""

    label: str
    status: str
    score: float | None
    interval: tuple[float, float] | None
    result: Result | None


@dataclass(frozen=True)
class Published:
    """What is read of comparison.json beside its rows."""

    name: str
    reference: str
    starts: dict[str, list[int]]
    lead_steps: list[int]
    variables: dict[str, str]
    scale: dict[str, float]


def reproduce(
    place: Path,
    row: str | None = None,
    seed: int | None = None,
    *,
    keep: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Train one row of a comparison again, with its seed, and forecast the starts it was published for.

    place: the comparison's folder, or a run's in it.
    row, seed: which run; that of the folder by default, of a comparison its reference.
    keep: leave the new run beside the others.
    Raises MeshcastError where there is no such run, or the data are not those it was trained on.
    """
    folder = place if (place / "comparison.json").is_file() else place.parent
    published = _published(place, folder)
    config = load(CompareConfig, with_rows(read_yaml(folder / "compare.yaml")))
    chosen = _chosen(published, row, seed, place if folder != place else None)
    result = Result(**chosen["result"])
    experiment = load(ExperimentConfig, result.config)
    data = PreparedData().fingerprints(experiment.data)
    if changed := [name for name, found in data.items() if result.data.get(name) != found]:
        raise MeshcastError(
            f"The {' and '.join(changed)} data are not what {result.label} was trained on: their content has another "
            "fingerprint. Simulate or fetch the data as they were."
        )
    folders = Path(config.results) / result.folder, folder / Path(result.folder).name
    original = next((found for found in folders if (found / "emulator.safetensors").is_file()), None)
    again = Path(tempfile.mkdtemp(prefix="reproduced-", dir=folder)) if keep else new_folder(folder / "reproduced")
    try:
        if original is not None and (original / "budget.json").is_file():
            shutil.copy(original / "budget.json", again / "budget.json")  # as many updates as the minutes came to then
        say(f"training {result.label} with seed {result.seed} again ...")
        quiet = replace(experiment, tracking=TrackingConfig())
        trained = fit(quiet, again, progress=progress)
        score, ours = _score(config, published, trained), package_versions()
        return Reproduction(
            label=result.label,
            seed=result.seed,
            score=score if math.isfinite(score) else None,
            published=chosen["score"],
            interval=tuple(chosen["interval"]) if chosen["interval"] else None,
            same_weights=None if original is None else _same_weights(original, again),
            versions={
                name: f"{version}, now {ours.get(name, 'absent')}"
                for name, version in result.versions.items()
                if ours.get(name, "absent") != version
            },
            folder=str(again) if keep else None,
        )
    finally:
        if not keep:
            discard(again)


def _published(place: Path, folder: Path) -> dict[str, Any]:
    path = folder / "comparison.json"
    if not place.is_dir() or not path.is_file() or not (folder == place or (place / "config.yaml").is_file()):
        raise MeshcastError(
            f"{place} is neither the folder of a finished comparison, which holds comparison.json, nor that of one of "
            "its runs. Give OUTPUT/NAME of `meshcast compare`."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for row in content["rows"]:
            load(PublishedRow, {name: row[name] for name in _names(PublishedRow)})
        load(Published, {name: content[name] for name in _names(Published)})
    except (ValueError, TypeError, KeyError, RecursionError, MeshcastError) as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]] if isinstance(error, MeshcastError) else []
        reason = "; ".join(faults) or f"{type(error).__name__}: {error}"
        raise MeshcastError(
            f"{path} is not as `meshcast compare` wrote it: {reason.rstrip('.')}. Start the comparison "
            "again: finished runs are kept, and the file is written anew."
        ) from None
    return dict(content)


def _names(cls: type) -> list[str]:
    return [item.name for item in fields(cls)]


def _chosen(published: Mapping[str, Any], row: str | None, seed: int | None, run: Path | None) -> dict[str, Any]:
    """Return the entry of comparison.json that the arguments choose."""
    runs = [item for item in published["rows"] if item["result"] is not None]
    if run is not None:
        found, what = [item for item in runs if Path(item["result"]["folder"]).name == run.name], f"run {run.name}"
    elif row is not None:
        found, what = [item for item in runs if row in (item["result"]["label"], item["label"])], f"run of {row}"
    else:
        found, what = [item for item in runs if item["label"] == published["reference"]] or runs, "run"
    found = [item for item in found if seed is None or item["result"]["seed"] == seed]
    if not found:
        labels = dict.fromkeys(f"{item['result']['label']} (seed {item['result']['seed']})" for item in runs)
        raise MeshcastError(
            f"The comparison {published['name']} has no {what}"
            f"{'' if seed is None else f' with seed {seed}'} that was trained for it; it has {', '.join(labels)}."
        )
    chosen = min(found, key=lambda item: item["result"]["seed"])
    if chosen["score"] is None:
        raise MeshcastError(f"{chosen['label']} was published without a score ({chosen['status']}): nothing to meet.")
    return dict(chosen)


def _score(config: CompareConfig, published: Mapping[str, Any], trained: TrainedEmulator) -> float:
    """Return the score of forecasts from the published starts, over the published lead times and variables."""
    assert config.data.test is not None
    test = config.data.test.open()
    with refuse_damaged(f"The comparison.json of {config.name}"):
        init_time, trajectory = (np.array(published["starts"][name]) for name in ("init_time", "trajectory"))
        starts = Starts(init_time, trajectory, np.array(published["lead_steps"]))
        names = tuple(published["variables"])
        scales = {name: float(published["scale"][name]) for name in names}
    seed = Seed("again", "done", emulator=trained)
    forecast = forecast_from(seed, test, starts, config.data.tables_of(config.data.test), shared={}).forecast
    assert forecast is not None
    columns = [forecast.variables.index(name) for name in names]
    units = tuple(forecast.units[column] for column in columns)
    scored = replace(forecast, values=forecast.values[..., columns], variables=names, units=units)
    verification = verify([scored], test, spectra=False)
    scale = np.array([scales[name] for name in verification.variables])
    return float(ranking_score(verification.emulators[0], scale, config.validation.score))


def _same_weights(one: Path, other: Path) -> bool:
    arrays, again = (read(folder / "emulator.safetensors")[0] for folder in (one, other))
    return arrays.keys() <= again.keys() and all(  # a later version may keep more statistics
        torch.equal(torch.nan_to_num(arrays[name]), torch.nan_to_num(again[name])) for name in arrays
    )
