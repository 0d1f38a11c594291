"""Run folders: who may write to one, and how far its run has come."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Literal

import torch

from emulator.build import TrainedEmulator, load_emulator
from emulator.foundation.configuration import dump, load, resolve
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig

log = logging.getLogger(__name__)

Resume = Literal["never", "auto"]


def run_folder(config: ExperimentConfig) -> Path:
    """Return where a run's files go."""
    return Path(config.output) / config.name


def take_folder(folder: Path, config: ExperimentConfig, resume: Resume) -> TrainedEmulator | None:
    """Take a folder for this run, and return the finished emulator where there is nothing left to do."""
    if not is_first_process():  # the first one checks, and makes the folder
        return load_emulator(folder / "emulator.safetensors") if (folder / "done.json").is_file() else None
    stored = folder / "config.yaml"
    begun = any((folder / name).exists() for name in ("emulator.safetensors", "last.ckpt"))
    if begun and not stored.is_file():
        raise MeshcastError(f"{folder} holds an emulator without its config.yaml. Choose another name or output.")
    changed = _changes(stored, config) if stored.is_file() else []
    if not begun:  # nothing yet, or a run that failed before it came to anything
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if changed:
                (folder / "budget.json").unlink(missing_ok=True)
        except OSError as error:
            raise MeshcastError(f"Cannot make the run folder {folder}: {error.strerror}. Set output=FOLDER.") from None
        dump(config, stored)
        return None
    if resume == "never":
        raise MeshcastError(
            f"{folder} already holds a run. Continue it with resume=auto, or choose another name: name=NAME."
        )
    if changed:
        raise MeshcastError(
            f"{folder} holds a run of another configuration; {', '.join(changed)} differ. "
            "Use the configuration in its config.yaml, or choose another name."
        )
    if (folder / "done.json").is_file():
        log.info("%s is done.", folder)
        return load_emulator(folder / "emulator.safetensors")
    return None


def mark_done(folder: Path, trained: TrainedEmulator) -> None:
    """Say that nothing is left to do, so that resuming returns what is there."""
    if not is_first_process():
        return
    with atomic_file(folder / "done.json") as temporary:
        temporary.write_text(json.dumps({"validation_score": trained.metadata.get("validation_score")}))


def updates_done(checkpoint: Path) -> int:
    """Return the updates behind a resumable checkpoint, 0 without one. Nothing in the file is executed."""
    if not checkpoint.is_file():
        return 0
    try:
        return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"])
    except Exception as error:
        raise MeshcastError(
            f"{checkpoint} cannot be resumed from: it is truncated, or no checkpoint of tensors and plain values "
            f"({type(error).__name__}). Remove it to start the run again."
        ) from None


def is_first_process() -> bool:
    """Return False in the further processes of a distributed run, which write nothing.

    Lightning, torchrun and Slurm each number processes and nodes in variables of their own; the first is 0 in all.
    """
    return all(int(os.environ.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _changes(stored: Path, config: ExperimentConfig) -> list[str]:
    """Return the sections that differ from the stored configuration, but for tracking and threads: no other run."""
    before, now = resolve(load(ExperimentConfig, stored)), resolve(config)
    before["training"]["threads"] = now["training"]["threads"]
    return [key for key in now if before[key] != now[key] and key != "tracking"]
