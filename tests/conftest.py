"""What every test shares: one thread, tracking offline, pictures without a screen, the real data where they are."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

# Set before anything imports the libraries that read them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import torch
from anemoi.utils import provenance

torch.set_num_threads(1)

# Every dataset records the versions of the thousands of modules loaded, longer than a small one takes to write.
provenance._module_versions = functools.cache(provenance._module_versions)

# What a test module imports in order to run something.
RUNS = {"subprocess", "nbclient", "fit", "run_study", "compare", "meshcast", "done", "refused"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark a test `integration` where its module runs commands, trainings or processes, and `unit` elsewhere."""
    for item in items:
        item.add_marker("integration" if RUNS & vars(getattr(item, "module", item)).keys() else "unit")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that MESHCAST_DATA names; the test is skipped without it."""
    named = os.environ.get("MESHCAST_DATA")
    if not named:
        pytest.skip("real data: set MESHCAST_DATA to their folder")
    folder = Path(named)
    assert folder.is_dir(), f"MESHCAST_DATA names {folder}, which is not a folder"
    return folder
