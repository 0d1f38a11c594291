"""Studies: many experiments and seeds, one small file a finished run, so that a study goes on where it stopped."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any, Literal

from torch import nn

from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.build import TrainedEmulator, is_closed_form, package_versions
from emulator.foundation.configuration import read_yaml, resolve
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from training.runs.budget import keep_budget
from training.experiment import ExperimentConfig
from training.runs.fit import fit
from training.metrics_log import read_log
from training.runs.run_hash import Fingerprints, run_hash, stands_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One experiment of a study, with the seed that replaces its own.

    label: a row's name in tables and legends; runs that differ in the seed alone share it.
    """

    label: str
    config: ExperimentConfig
    seed: int = 0

    @property
    def experiment(self) -> ExperimentConfig:
        """What is fitted."""
        return replace(self.config, name=self.label, training=replace(self.config.training, seed=self.seed))

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in results/HASH.json.

    hash: of the resolved configuration with its seed, the data's content and a plug-in's source.
    status: `diverged` where loss or score stopped being finite (the best emulator before that is kept), `failed` where
        the run ended in an error, told in `reason`; a failed run is tried again when the study is.
    validation_score: of the emulator kept, which is that after `update` updates; None without a validation.
    parameters: trainable weights, and fixed ones that follow from the training part in closed form.
    seconds: of fitting, first guess and validation included; of an interrupted run, up to the checkpoint it went on
        from, and since.
    folder: of the run, relative to the results folder.
    data: fingerprints of the training and validation parts, and of forcing tables.
    """

    hash: str
    label: str
    seed: int
    status: Literal["done", "diverged", "failed"]
    folder: str
    config: dict[str, Any]
    data: dict[str, str]
    reason: str = ""
    validation_score: float | None = None
    update: int | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=package_versions)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def emulator_path(self, results: Path) -> Path:
        """Where the run's emulator is, seen from the working directory."""
        return results / self.folder / "emulator.safetensors"


def run_study(
    runs: Sequence[Run],
    results: Path | str = "results",
    *,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
    emulators: bool = False,
    fingerprints: Fingerprints | None = None,
    timed: Callable[[Run], float] | None = None,
) -> list[Result]:
    """Fit every run that is not finished, and return the results of all, in the order of `runs`.

    Started again, it skips what is finished and continues what was interrupted. A run that fails or diverges is
    recorded as such, and the study goes on.

    results: folder of the result files; the files of run L with seed S go to OUTPUT/NAME/L-seedS-HASH.
    progress: a bar along each fit; say: takes one line a run.
    emulators: fit a finished run again whose emulator is no longer there.
    fingerprints: those taken before; timed: seconds an update of a run takes, for a budget of minutes, which is else
        measured for each run by itself.
    """
    results = Path(results)
    refuse_several_devices(runs)
    fingerprints = fingerprints or Fingerprints()
    finished, stored = [], stored_configurations(results)
    for number, run in enumerate(runs, 1):
        place = f"[{number}/{len(runs)}] {run}"
        data = fingerprints.of(run.config.data)
        key = find_hash(run, data, results, stored)
        result = read_result(results / f"{key}.json")
        if result is not None and _stands(result, results, emulators):
            say(f"{place}: {_summary(result)}, from {results / key}.json")
            finished.append(replace(result, label=run.label))
            continue
        say(f"{place} ...")
        result = _fitted(run, key, data, results, progress, timed)
        with atomic_file(results / f"{key}.json") as part:
            part.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
        say(f"{place}: {_summary(result)}")
        finished.append(result)
    return finished


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    result: of the run, where it is finished.
    updates: that its last checkpoint has behind it.
    """

    run: Run
    result: Result | None
    updates: int = 0


def progress_of(
    runs: Sequence[Run], results: Path | str, fingerprints: Fingerprints, *, emulators: bool = False
) -> list[Progress]:
    """How far each run has come, in the order of `runs`: what `run_study` would skip, continue and start."""
    results, found = Path(results), []
    stored = stored_configurations(results)
    for run in runs:
        key = find_hash(run, fingerprints.of(run.config.data), results, stored)
        result = read_result(results / f"{key}.json")
        if result is not None and _stands(result, results, emulators):
            found.append(Progress(run, replace(result, label=run.label)))
        else:
            found.append(Progress(run, None, _updates_logged(_folder(run, key))))
    return found


def refuse_several_devices(runs: Sequence[Run]) -> None:
    """Raise MeshcastError where a run asks for more than a study can give it."""
    for run in runs:
        if run.config.training.devices * run.config.training.num_nodes > 1:
            raise MeshcastError(
                f"A study fits on one device, but {run} asks for {run.config.training.devices} devices on "
                f"{run.config.training.num_nodes} nodes. Fit it with `meshcast train` and compare its checkpoint."
            )


def read_result(path: Path) -> Result | None:
    """A result file; None where there is none yet."""
    if not path.is_file():
        return None
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise MeshcastError(f"{path} is no result of a study: {error}. Remove it to fit its run again.") from None


def stored_configurations(results: Path) -> list[dict[str, Any]]:
    """Return the configurations of all result files, in plain types; a file that is no result has none."""
    found = []
    for path in sorted(results.glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8"))["config"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def find_hash(run: Run, data: Mapping[str, str], results: Path, stored: Sequence[Mapping[str, Any]]) -> str:
    """Return the hash under which a run is finished or begun, perhaps by an earlier version; today's where it is new.

    stored: from `stored_configurations`.
    """
    today = run_hash(run.experiment, data)
    if (results / f"{today}.json").is_file():
        return today
    for config in stored:
        if stands_for(config, run.experiment):
            earlier = run_hash(run.experiment, data, config)
            if (results / f"{earlier}.json").is_file():  # otherwise the data are others, or a plug-in's source
                return earlier
    folder = _folder(run, today)
    for path in sorted(folder.parent.glob(f"{escape(folder.name.removesuffix(today[:8]))}*/config.yaml")):
        config = read_yaml(path)
        if stands_for(config, run.experiment):
            earlier = run_hash(run.experiment, data, config)
            if path.parent == _folder(run, earlier):
                return earlier
    return today


def updates_taken(result: Result, results: Path | str) -> int:
    """Updates of a run, from its log, since a budget of minutes does not say how many; as configured without a log."""
    rows = read_log(Path(results) / result.folder / "metrics.csv")
    return int(rows[-1]["update"]) if rows else int(result.config["training"]["updates"])


def count_parameters(emulator: Emulator) -> dict[str, int]:
    """Weights that gradients change, and fixed ones fitted in closed form; scales, graphs and statics are neither."""
    if not isinstance(emulator, nn.Module):
        return {"trainable": 0, "fixed": sum(array.size for array in emulator.arrays().values())}  # type: ignore[attr-defined]
    trainable = sum(weight.numel() for weight in emulator.parameters())
    if isinstance(emulator, NeuralEmulator):
        guess = emulator.first_guess
        fixed = guess.state_dict() if isinstance(guess, NeighbourhoodMap) else {}
    else:
        fixed = {name: array for name, array in emulator.state_dict().items() if not name.startswith("inputs.")}
    return {"trainable": trainable, "fixed": sum(array.numel() for array in fixed.values())}


def _stands(result: Result, results: Path, emulators: bool) -> bool:
    """True where nothing is left to do for a result."""
    return result.status != "failed" and (not emulators or result.emulator_path(results).is_file())


def _fitted(
    run: Run,
    key: str,
    data: dict[str, str],
    results: Path,
    progress: bool,
    timed: Callable[[Run], float] | None,
) -> Result:
    experiment, folder = run.experiment, _folder(run, key)
    result = Result(
        hash=key,
        label=run.label,
        seed=run.seed,
        status="done",
        folder=Path(os.path.relpath(folder, results)).as_posix(),
        config=resolve(experiment),
        data=data,
    )
    start, earlier = time.perf_counter(), _seconds_logged(folder)
    try:
        if timed is not None and experiment.training.minutes is not None and not is_closed_form(experiment.emulator):
            keep_budget(folder, experiment, timed(run))
        trained = fit(experiment, folder, resume="auto", progress=progress)
    except MeshcastError as error:
        return replace(result, status="failed", reason=str(error))
    except Exception as error:
        # Whatever a network raises on strange data, the other rows of a night's study should not be lost with it.
        log.exception("%s failed", run)
        return replace(result, status="failed", reason=f"{type(error).__name__}: {error}")
    return _with_outcome(result, trained, folder, earlier + time.perf_counter() - start)


def _folder(run: Run, key: str) -> Path:
    """Where a run's files go; its label is cut where a file system would not take it, the hash tells it apart."""
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in run.label)[:120]
    name = name.encode()[:120].decode(errors="ignore")  # file systems count bytes
    return Path(run.config.output) / run.config.name / f"{name}-seed{run.seed}-{key[:8]}"


def _seconds_logged(folder: Path) -> float:
    """What an interrupted run had taken by its last checkpoint."""
    log = read_log(folder / "metrics.csv")
    return log[-1]["seconds"] if log else 0.0


def _updates_logged(folder: Path) -> int:
    """Updates an interrupted run goes on from."""
    log = read_log(folder / "metrics.csv") if (folder / "last.ckpt").is_file() else []
    return int(log[-1]["update"]) if log else 0


def _with_outcome(result: Result, trained: TrainedEmulator, folder: Path, seconds: float) -> Result:
    log = read_log(folder / "metrics.csv")
    score = trained.metadata.get("validation_score")
    # Row 0 comes before any update and so has no loss.
    finite = all(math.isfinite(row["validation_score"]) for row in log[-1:])
    finite &= all(math.isfinite(row["loss"]) for row in log[1:])
    return replace(
        result,
        status="done" if finite else "diverged",
        reason="" if finite else f"loss or score not finite by update {log[-1]['update']}",
        validation_score=score,
        update=trained.metadata.get("update"),
        parameters=count_parameters(trained.emulator),
        seconds=round(seconds, 3),
    )


def _summary(result: Result) -> str:
    score = "" if result.validation_score is None else f", validation score {result.validation_score:.4g}"
    seconds = "" if result.seconds is None else f", {result.seconds:.0f} s"
    reason = f" ({result.reason})" if result.reason else ""
    return f"{result.status}{reason}{score}{seconds}"
