"""Studies: many experiments and seeds, one small file a finished run, so that a study goes on where it stopped."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, Literal

from torch import nn

from emulator.baselines.first_guess import LinearInverseStep
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.build import TrainedEmulator, is_closed_form, load_emulator, package_versions
from emulator.foundation.configuration import load, read_yaml, resolve
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator
from graphs.errors import MeshcastError
from graphs.output_lock import InUseError
from training.early_end import DivergedError, PrunedError
from training.experiment import ExperimentConfig
from training.json_file import read_json, write_json
from training.metrics_log import read_log
from training.optimisation.validation import rank_of
from training.preparation.prepared import PreparedData
from training.resumable import checkpoints_of
from training.run_folder import folder_named
from training.runs.budget import keep_budget
from training.runs.fit import fit
from training.runs.run_hash import run_hash, stands_for

log = logging.getLogger(__name__)

Timed = Callable[["Run"], tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """One experiment of a study with a seed, which replaces the experiment's.

    label: name of its row in tables and legends; runs that differ in the seed alone share it.
    """

    label: str
    config: ExperimentConfig
    seed: int = 0

    @property
    def experiment(self) -> ExperimentConfig:
        """Return the experiment with its label and seed, which is what is fitted."""
        return replace(self.config, name=self.label, training=replace(self.config.training, seed=self.seed))

    def folder(self, key: str) -> Path:
        """Return the folder of the run's files, its label cut to what a file system takes."""
        name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.label)[:120]
        name = name.encode()[:120].decode(errors="ignore")  # file systems count bytes
        return folder_named(self.config.output, self.config.name) / f"{name}-seed{self.seed}-{key[:8]}"

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What results/HASH.json says of a finished run.

    hash: of the resolved configuration with its seed, the data's content and a plug-in's source.
    status: `diverged` where loss or score stopped being finite (the best emulator before that is kept), `failed` where
        the run ended in an error, which `reason` gives; a failed run is tried again with its study; `pruned` where
        whoever watched it ended it early, after which it goes on where another study asks for it.
    validation_score: of the emulator kept, which is that after `update` updates; None without a validation.
    rank: what that was chosen by: the score, larger where long rollouts died; None in files of earlier versions too.
    parameters: trainable weights, and fixed ones that follow from the training data in closed form.
    seconds: of fitting, first guess and validation included; of an interrupted run, up to the checkpoint it went on
        from, and since.
    processor_seconds: of fitting, of all threads of this process; None of an interrupted run.
    folder: of the run, relative to the results folder.
    data: fingerprints of the training and validation data, and of forcing tables.
    """

    hash: str
    label: str
    seed: int
    status: Literal["done", "diverged", "pruned", "failed"]
    folder: str
    config: dict[str, Any]
    data: dict[str, str]
    reason: str = ""
    validation_score: float | None = None
    rank: float | None = None
    update: int | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    processor_seconds: float | None = None
    versions: dict[str, str] = field(default_factory=package_versions)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def emulator_path(self, results: Path) -> Path:
        """Return the path of the run's emulator, seen from the working directory."""
        return results / self.folder / "emulator.safetensors"

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        score = "" if self.validation_score is None else f", validation score {self.validation_score:.4g}"
        return f"{self.status}{reason}{score}" + ("" if self.seconds is None else f", {self.seconds:.0f} s")


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    result: of the run, where it is finished.
    updates: that its last checkpoint has behind it.
    hash: under which it is stored, or will be; data: fingerprints, which the hash covers.
    """

    run: Run
    result: Result | None
    updates: int = 0
    hash: str = ""
    data: dict[str, str] = field(default_factory=dict)


def run_study(
    runs: Sequence[Run],
    results: Path | str = "results",
    *,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
    emulators: bool = False,
    prepared: PreparedData | None = None,
    timed: Timed | None = None,
    fitting: Callable[..., TrainedEmulator] = fit,
) -> list[Result]:
    """Fit every run that is not finished, and return the results of all, in the order of `runs`.

    Started again, it skips what is finished and continues what was interrupted. A run that fails or diverges is
    recorded as such, and the study goes on.

    results: folder of the result files; the files of run L with seed S go to OUTPUT/NAME/L-seedS-HASH.
    progress: a bar along each fit; say: takes one line a run.
    emulators: fit a finished run again whose emulator is no longer there.
    prepared: data that are open already.
    timed: seconds of an update of a run and of a validation, for a budget of minutes; by default each run measures its
        own.
    fitting: fits an experiment into a folder, as `fit` does.
    """
    results = Path(results)
    refuse_several_devices(runs)
    prepared, stored, finished = prepared or PreparedData(), stored_configurations(results), []
    fit_or_resume = partial(fitting, resume="auto", progress=progress, data=prepared, notice=say)
    for number, run in enumerate(runs, 1):
        place = f"[{number}/{len(runs)}] {run}"
        found = _progress(run, results, stored, prepared, emulators)
        if (result := found.result) is not None:
            say(f"{place}: {result}, from {results / found.hash}.json")
        else:
            say(f"{place} ...")
            result = _fitted(found, results, timed, fit_or_resume)
            write_json(results / f"{found.hash}.json", asdict(result))
            say(f"{place}: {result}")
        finished.append(result)
    return finished


def progress_of(
    runs: Sequence[Run], results: Path | str, prepared: PreparedData, *, emulators: bool = False
) -> list[Progress]:
    """Return how far each run has come, in the order of `runs`: what `run_study` would skip, continue and start."""
    results = Path(results)
    stored = stored_configurations(results)
    return [_progress(run, results, stored, prepared, emulators) for run in runs]


def refuse_several_devices(runs: Sequence[Run]) -> None:
    """Raise MeshcastError where a run asks for more than a study can give it."""
    for run in runs:
        if run.config.training.devices * run.config.training.num_nodes > 1:
            raise MeshcastError(
                f"A study fits on one device, but {run} asks for {run.config.training.devices} devices on "
                f"{run.config.training.num_nodes} nodes. Fit it with `meshcast train` and compare its checkpoint."
            )


def read_result(path: Path) -> Result | None:
    """Return the content of a result file; None where there is none yet."""
    if not path.is_file():
        return None
    remedy = "Remove it to fit its run again."
    content = read_json(path, remedy)
    try:
        result = load(Result, content)
    except MeshcastError as error:
        raise MeshcastError(f"{path} is no result of a study: {error}\n{remedy}") from None
    if result.hash != path.stem:
        raise MeshcastError(f"{path} holds the result of the run {result.hash}, not of {path.stem}. {remedy}")
    return result


def find_hash(run: Run, data: Mapping[str, str], results: Path, stored: Sequence[Mapping[str, Any]]) -> str:
    """Return the hash under which a run is finished or begun, perhaps by an earlier version; today's where it is new.

    stored: from `stored_configurations`.
    """
    experiment = run.experiment
    today = run_hash(experiment, data)
    if (results / f"{today}.json").is_file():
        return today
    for config in stored:
        if stands_for(config, experiment):
            earlier = run_hash(experiment, data, config)
            if (results / f"{earlier}.json").is_file():  # otherwise the data are others, or a plug-in's source
                return earlier
    folder = run.folder(today)
    for path in sorted(folder.parent.glob(f"{escape(folder.name.removesuffix(today[:8]))}*/config.yaml")):
        config = read_yaml(path)
        if stands_for(config, experiment) and path.parent == run.folder(key := run_hash(experiment, data, config)):
            return key
    return today


def stored_configurations(results: Path) -> list[dict[str, Any]]:
    """Return the configurations of all result files, in plain types; a file that is no result has none."""
    found = []
    for path in sorted(results.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            found.append(json.loads(path.read_text(encoding="utf-8"))["config"])
    return found


def updates_taken(result: Result, results: Path | str) -> int:
    """Return the updates of a run by its log, since minutes do not say how many; as configured without a log."""
    rows = read_log(Path(results) / result.folder / "metrics.csv")
    return int(rows[-1]["update"]) if rows else int(result.config["training"]["updates"])


def count_parameters(emulator: Emulator) -> dict[str, int]:
    """Return the numbers of trainable weights and of those fixed in closed form, without scales, graphs and statics."""
    if not isinstance(emulator, nn.Module):
        return {"trainable": 0, "fixed": sum(array.size for array in emulator.arrays().values())}  # type: ignore[attr-defined]
    trainable = sum(weight.numel() for weight in emulator.parameters())
    if isinstance(emulator, NeuralEmulator):
        guess = emulator.first_guess
        fixed = guess.state_dict() if isinstance(guess, NeighbourhoodMap | LinearInverseStep) else {}
    else:
        fixed = {name: array for name, array in emulator.state_dict().items() if not name.startswith("inputs.")}
    return {"trainable": trainable, "fixed": sum(array.numel() for array in fixed.values())}


def _progress(
    run: Run, results: Path, stored: Sequence[Mapping[str, Any]], prepared: PreparedData, emulators: bool
) -> Progress:
    data = prepared.fingerprints(run.config.data)
    key = find_hash(run, data, results, stored)
    result = read_result(results / f"{key}.json")
    ended = result is not None and result.status not in ("failed", "pruned")
    if result is not None and ended and (not emulators or result.emulator_path(results).is_file()):
        return Progress(run, replace(result, label=run.label), hash=key, data=data)
    folder = run.folder(key)
    rows = read_log(folder / "metrics.csv") if checkpoints_of(folder) else []
    return Progress(run, None, int(rows[-1]["update"]) if rows else 0, key, data)


def _fitted(
    begun: Progress,
    results: Path,
    timed: Timed | None,
    fitting: Callable[..., TrainedEmulator],
) -> Result:
    """Return the result of a run that is not finished; `fitting` fits an experiment into a folder."""
    run, experiment, folder = begun.run, begun.run.experiment, begun.run.folder(begun.hash)
    result = Result(
        hash=begun.hash,
        label=run.label,
        seed=run.seed,
        status="done",
        folder=Path(os.path.relpath(folder, results)).as_posix(),
        config=resolve(experiment),
        data=begun.data,
    )
    rows = read_log(folder / "metrics.csv")
    start = time.perf_counter() - (rows[-1]["seconds"] if rows else 0.0)
    working = None if rows else time.process_time()
    try:
        if timed is not None and experiment.training.minutes is not None and not is_closed_form(experiment.emulator):
            keep_budget(folder, experiment, *timed(run))
        trained = fitting(experiment, folder)
    except InUseError:
        raise  # its own process will write the result
    except DivergedError as error:
        result = replace(result, status="diverged", reason=str(error).split(" The training has")[0])
        trained = load_emulator(folder / "emulator.safetensors")
    except PrunedError as error:
        result = replace(result, status="pruned", reason=str(error))
        trained = load_emulator(folder / "emulator.safetensors")
    except MeshcastError as error:
        return replace(result, status="failed", reason=str(error))
    except Exception as error:
        # Whatever a network raises on strange data, the other rows of a night's study should not be lost with it.
        log.exception("%s failed", run)
        return replace(result, status="failed", reason=f"{type(error).__name__}: {error}")
    seconds, rows = round(time.perf_counter() - start, 3), read_log(folder / "metrics.csv")
    numbers = [row["validation_score"] for row in rows[-1:]] + [row["loss"] for row in rows[1:]]  # row 0 has no loss
    if result.status == "done" and not all(map(math.isfinite, numbers)):
        reason = f"loss or score not finite by update {rows[-1]['update']}"
        result = replace(result, status="diverged", reason=reason)
    return replace(
        result,
        validation_score=trained.metadata.get("validation_score"),
        rank=rank_of(trained.metadata),
        update=trained.metadata.get("update"),
        parameters=count_parameters(trained.emulator),
        seconds=seconds,
        processor_seconds=None if working is None else round(time.process_time() - working, 3),
    )
