"""What of a configuration may be edited before a run is resumed: all that leaves its samples and its science alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.foundation.configuration import one_line, resolve
from graphs.errors import MeshcastError
from training.experiment import NO_OTHER_RUN, ExperimentConfig

MACHINE = ("devices", "num_nodes", "num_workers", "accelerator", "strategy", "backend", *NO_OTHER_RUN)
SHARES = ("batch_size", "accumulate", "global_batch_size")  # free where an update takes as many samples as before
FREE = ("tracking", "accounting", "output", *(f"training.{key}" for key in (*MACHINE, *SHARES)))
MISSING = "nothing"


@dataclass(frozen=True)
class Change:
    """A key of the configuration, by its dotted path, with the value of the run so far and that of now, as YAML."""

    path: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} before, {self.now} now"


def changes(before: ExperimentConfig, now: ExperimentConfig) -> list[Change]:
    """Return every key that differs."""
    return list(_changes(resolve(before), resolve(now), ""))


def refuse_another_run(folder: Path, before: ExperimentConfig, now: ExperimentConfig) -> list[str]:
    """Return lines that say what differs from a run's configuration so far; none where nothing does.

    Raises MeshcastError, with both values of each key, where it would be another run: other data, mesh, variables,
    network, loss or samples, or fewer updates.
    """
    found = changes(before, now)
    refused = [change for change in found if not _is_free(change.path)]
    said: list[str] = []
    more = now.training.updates - before.training.updates
    if more > 0 and now.training.minutes is None:
        refused = [change for change in refused if change.path != "training.updates"]
        said = ["The learning rate, the curriculum and averages of the weights follow the new number of updates."]
    samples = [config.training.samples_per_update for config in (before, now)]
    if samples[0] != samples[1]:
        raise MeshcastError(
            f"{folder} holds a run of another configuration: an update took {samples[0]} samples, and would take "
            f"{samples[1]} now, of {_shares(now)}. Set training.batch_size=null and "
            f"training.global_batch_size={samples[0]}."
        )
    if refused:
        raise MeshcastError(
            f"{folder} holds a run of another configuration:\n"
            + "\n".join(f"  {change}" for change in refused)
            + "\nUse the configuration in its config.yaml, or choose another name: name=NAME."
        )
    if not found:
        return []
    if before.training.processes != now.training.processes:
        said.append(
            f"{_counted(now.training.processes)} share each update now, {before.training.processes} before: its "
            "samples are the same, sums are rounded elsewhere."
        )
    return [f"Resumed with {'; '.join(map(str, found))}.", *said]


def _shares(config: ExperimentConfig) -> str:
    training = config.training
    batches = f"{training.accumulate} accumulated x {training.process_batch} samples a batch"
    return f"{training.graphs_in_words} x {batches}"


def _counted(processes: int) -> str:
    return f"{processes} process" + "es" * (processes > 1)


def _is_free(path: str) -> bool:
    return any(path == key or path.startswith(f"{key}.") for key in FREE)


def _changes(before: Any, now: Any, path: str) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            inner = f"{path}.{key}" if path else str(key)
            yield from _changes(before.get(key, MISSING), now.get(key, MISSING), inner)
    elif before != now:
        yield Change(path, *(value if value is MISSING else _in_yaml(value) for value in (before, now)))


def _in_yaml(value: Any) -> str:
    return one_line(value).removesuffix("...").strip()  # which ends a document that is one value
