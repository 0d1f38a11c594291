"""A task in a checkpoint: JSON, that later versions read too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emulator.data.coordinates import time_step_from_json, time_step_to_json
from emulator.foundation.scaling import TRANSFORMS
from emulator.task import Task, Variable

SCALING = ("transform", "normaliser", "imputation")


def task_to_json(task: Task) -> dict[str, Any]:
    """Return a task in plain types."""
    plain = asdict(task)
    for item in plain["variables"]:
        for key in SCALING:
            if item[key] == Variable.__dataclass_fields__[key].default:
                del item[key]  # as in the checkpoints of versions that knew none
    return {**plain, "time_step": time_step_to_json(task.time_step)}


def task_from_json(plain: Mapping[str, Any]) -> Task:
    """Return the task that `task_to_json` has put into plain types, of this version or an earlier one."""
    pairs = ("bounds", "memory")  # JSON has lists for them
    variables = [
        {**item, **{key: tuple(item[key]) if item.get(key) else None for key in pairs}} for item in plain["variables"]
    ]
    for item in variables:
        if (transform := item.get("transform")) is not None:
            item["transform"] = TRANSFORMS[transform["kind"]](**transform)
    time_step, boundary = time_step_from_json(plain["time_step"]), plain.get("boundary", False)
    return Task(tuple(Variable(**item) for item in variables), time_step, plain["history"], boundary=boundary)
