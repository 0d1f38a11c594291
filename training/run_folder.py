"""Run folders: who may write to one, and how far its run has come."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Literal

from emulator.build import TrainedEmulator, load_emulator
from emulator.checkpoint import read as read_emulator
from emulator.foundation.configuration import dump, load, resolve
from graphs.errors import MeshcastError
from training.experiment import NO_OTHER_RUN, ExperimentConfig
from training.json_file import write_json
from training.resumable import checkpoints_of, forget_earlier

log = logging.getLogger(__name__)

Resume = Literal["never", "auto"]
LONGEST_NAME = 160  # bytes: names of files are made of it
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


def run_folder(config: ExperimentConfig) -> Path:
    """Return where a run's files go."""
    return folder_named(config.output, config.name)


def folder_named(output: str, name: str) -> Path:
    """Return OUTPUT/NAME; raise MeshcastError where that is no folder within OUTPUT on every system."""
    reserved = not name.strip(" .") or name.split(".")[0].rstrip().upper() in RESERVED
    if reserved or re.search(r"[\\/\x00-\x1f\x7f]", name) or len(name.encode()) > LONGEST_NAME:
        raise MeshcastError(
            f"name is {name!r}, but it names a folder within output: give a word or a few without /, \\ and control "
            f"characters, other than . and .. and what Windows reserves (as NUL), of at most {LONGEST_NAME} bytes. "
            "Set name=NAME, and output=FOLDER where the folder should lie elsewhere."
        )
    return Path(output) / name


def take_folder(folder: Path, config: ExperimentConfig, resume: Resume) -> TrainedEmulator | None:
    """Take a folder for this run, and return the finished emulator where there is nothing left to do."""
    if not is_first_process():  # the first one checks, and makes the folder
        return load_emulator(folder / "emulator.safetensors") if (folder / "done.json").is_file() else None
    stored = folder / "config.yaml"
    begun = (folder / "emulator.safetensors").exists() or bool(checkpoints_of(folder))
    if begun and not stored.is_file():
        raise MeshcastError(f"{folder} holds an emulator without its config.yaml. Choose another name or output.")
    changed = _changes(stored, config) if stored.is_file() else []
    if not begun:  # nothing yet, or a run that failed before it came to anything
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if changed:
                for name in ("budget.json", "energy.json"):
                    (folder / name).unlink(missing_ok=True)
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
    _refuse_damaged(folder)
    return None


def mark_done(folder: Path, trained: TrainedEmulator) -> None:
    """Say that nothing is left to do, so that resuming returns what is there."""
    if not is_first_process():
        return
    forget_earlier(folder)  # first: nobody looks for them in a run that is done
    write_json(folder / "done.json", {"validation_score": trained.metadata.get("validation_score")})


def is_first_process() -> bool:
    """Return False in the further processes of a distributed run, which write nothing.

    Lightning, torchrun and Slurm each number processes and nodes in variables of their own; the first is 0 in all.
    """
    return all(int(os.environ.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _refuse_damaged(folder: Path) -> None:
    """Raise MeshcastError at once where a run could only find at its end that its best emulator cannot be read."""
    try:
        if (path := folder / "emulator.safetensors").exists():
            read_emulator(path)
    except MeshcastError as error:
        raise MeshcastError(
            f"{error} The run cannot go on without its best emulator so far. Remove {folder} to start it again."
        ) from None


def _changes(stored: Path, config: ExperimentConfig) -> list[str]:
    """Return the sections that differ from the stored configuration, but for what makes no other run."""
    before, now = resolve(load(ExperimentConfig, stored)), resolve(config)
    before["training"] |= {key: now["training"][key] for key in NO_OTHER_RUN}
    return [key for key in now if before[key] != now[key] and key not in ("tracking", "accounting")]
