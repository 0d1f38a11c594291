"""A training whose graph is split over several processes: which of them this one is, and what it cannot do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emulator.foundation.shard_group import ShardGroup
from graphs.errors import MeshcastError
from graphs.partition import Shard

if TYPE_CHECKING:
    from training.experiment import ExperimentConfig, TrainingConfig

LOSSES_OF_NODES = ("mse", "mae", "huber", "pseudo_huber", "crps")  # means over nodes of a function of each node's error


def group_of(training: TrainingConfig) -> ShardGroup | None:
    """Return the processes that this one shares its graph with; None where graphs are whole."""
    if training.shards == 1:
        return None
    return ShardGroup(Shard(_process_number(training) % training.shards, training.shards))


def data_ranks(rank: int, ranks: int, shards: int) -> tuple[int, int]:
    """Return which of the groups that learn from samples of their own a process is in, and how many groups there are.

    The processes of one graph have adjacent ranks, and learn from the same samples.
    """
    return rank // shards, ranks // shards


def refuse_unshardable(config: ExperimentConfig) -> None:
    """Raise MeshcastError where an experiment asks for what needs all nodes in one process, and is to be split."""
    training = config.training
    if training.shards == 1:
        return
    asked = {
        "training.mirror": training.mirror is not None,
        "training.reversal": training.reversal is not None,
        "training.shift": training.shift,
        "training.rotation": training.rotation,
        "training.minutes": training.minutes is not None,
        f"training.loss={training.loss}": training.loss not in LOSSES_OF_NODES,
        f"training.strategy={training.strategy}": training.strategy not in ("auto", "ddp"),
        "data.window": any(part.window is not None for part in (config.data.train, config.data.validation)),
        "between": config.between is not None,
        "variability": config.variability is not None,
    }
    if found := [name for name, unwanted in asked.items() if unwanted]:
        raise MeshcastError(
            f"A graph split over {training.shards} processes is not trained with {', '.join(found)}: each process has "
            "some of the nodes alone. Leave that out (minutes become training.updates), or leave the graph whole: "
            "training.shards=1."
        )


def _process_number(training: TrainingConfig) -> int:
    """Return the number of this process among all, before they have met: as torchrun, Lightning or Slurm gives it."""
    environment = os.environ
    if number := environment.get("RANK"):
        return int(number)
    if local := environment.get("LOCAL_RANK"):
        return int(environment.get("NODE_RANK") or 0) * training.devices + int(local)
    return int(environment.get("SLURM_PROCID") or 0)
