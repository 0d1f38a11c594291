"""A budget of minutes as updates, and the counts that follow it where it is short: warm-up, averaging, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulator.foundation.threads import Notice
from training.experiment import ExperimentConfig
from training.json_file import read_json, write_json

VALIDATIONS = 5  # of a budget too short for two at the configured distance
SHORT = 0.25  # share of the updates from which on a warm-up, or an average's memory, is too long
WARM_UP, MEMORY = 0.1, 0.1  # the shares that they are then


def keep_budget(folder: Path, config: ExperimentConfig, update: float, validation: float) -> int:
    """Write the updates that a budget of minutes comes to into a run folder, where none are written yet; their number.

    So that the seeds of one row get the same number, it is measured once and kept for each. Where two validations would
    not fit, there are five, or as many as take half of the budget.

    update, validation: see `budget_of`.
    """
    if "updates" not in read_budget(folder):
        add_to_budget(folder, **budget_of(config, update, validation))
    return int(read_budget(folder)["updates"])


def budget_of(config: ExperimentConfig, update: float, validation: float) -> dict[str, float]:
    """Return what a budget of minutes comes to: `updates`, `seconds_per_update`, perhaps `validation_every`.

    update, validation: the seconds that each takes; the share of a long rollout comes on top.
    """
    assert config.training.minutes is not None
    taken = 0.0 if config.between is None else config.between.share
    seconds, every = config.training.minutes * 60 * (1 - taken), config.validation.every
    per_update = update + validation / every
    updates = max(1, int(seconds / per_update))
    more: dict[str, float] = {}
    if 2 * every > updates:
        count = max(1, min(VALIDATIONS, int(seconds / 2 / max(validation, 1e-9))))
        updates = max(1, int((seconds - min(count * validation, seconds / 2)) / update))
        more = {"validation_every": min(every, math.ceil(updates / count))}
    return {"updates": updates, "seconds_per_update": per_update, **more}


def within_budget(config: ExperimentConfig, folder: Path, notice: Notice) -> ExperimentConfig:
    """Return an experiment with the updates of the budget in its folder, and counts that come within them.

    notice: takes a line on what follows the budget in place of the configuration.
    """
    return with_counts_of(read_budget(folder), config, notice)


def with_counts_of(budget: Mapping[str, Any], config: ExperimentConfig, notice: Notice) -> ExperimentConfig:
    """Return an experiment with the updates of a budget, and counts that come within them; see `within_budget`."""
    training, validation = config.training, config.validation
    updates, changed = int(budget["updates"]), []
    training = replace(training, updates=updates)
    if (every := int(budget.get("validation_every", validation.every))) < validation.every:
        changed.append(f"validation.every {validation.every} becomes {every}")
        validation = replace(validation, every=every)
    if training.warm_up > SHORT * updates:
        warm_up = int(WARM_UP * updates)
        changed.append(f"training.warm_up {training.warm_up} becomes {warm_up}")
        training = replace(training, warm_up=warm_up)
    if 1 / (1 - training.ema_decay) > SHORT * updates and (decay := _decay(updates)) < training.ema_decay:
        changed.append(f"training.ema_decay {training.ema_decay:g} becomes {decay:g}")
        training = replace(training, ema_decay=decay)
    if changed:
        notice(
            f"{training.minutes:g} minutes are {updates:,} updates of {budget['seconds_per_update']:.3g} s here, too "
            f"few for the configured counts: {', '.join(changed)}. Give more training.minutes to keep them."
        )
    return replace(config, training=training, validation=validation)


def say_what_never_comes(config: ExperimentConfig, notice: Notice) -> None:
    """Say it before a training of a given number of updates starts that its warm-up or validation lies beyond them."""
    updates, warm_up, every = config.training.updates, config.training.warm_up, config.validation.every
    if warm_up >= updates > 1:
        notice(
            f"training.warm_up of {warm_up:,} is not over within training.updates of {updates:,}: the learning rate "
            f"ends at {updates / warm_up:.0%} of training.learning_rate."
        )
    if every > updates > 1:
        notice(
            f"validation.every of {every:,} lies beyond training.updates of {updates:,}: after the untrained network "
            "only the last one is validated, and no better one on the way is kept."
        )


def _decay(updates: int) -> float:
    """Return the decay of an average whose memory is a share of the updates, 0 where that is less than one."""
    return round(max(0.0, 1 - 1 / max(MEMORY * updates, 1.0)), 6)


def read_budget(folder: Path) -> Mapping[str, Any]:
    """Return what a run folder says of updates and threads, nothing where neither was measured."""
    stored = folder / "budget.json"
    return read_json(stored, "Remove it to have updates and threads measured again.") if stored.is_file() else {}


def add_to_budget(folder: Path, **more: float) -> None:
    """Write more of what was measured into a run folder."""
    write_json(folder / "budget.json", {**read_budget(folder), **more})
