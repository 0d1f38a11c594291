"""Run folders: who may write to one, and how far its run has come."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal

from emulator.build import TrainedEmulator
from emulator.checkpoint import read as read_emulator
from emulator.foundation.configuration import dump, load
from emulator.foundation.threads import Notice
from graphs.errors import MeshcastError
from training.configuration_changes import changes, refuse_another_run
from training.experiment import ExperimentConfig
from training.json_file import write_json
from training.processes import is_first_process
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


def take_folder(folder: Path, config: ExperimentConfig, resume: Resume, notice: Notice = log.info) -> bool:
    """Take a folder for this run, as the first process does; return whether there is nothing left to do.

    notice: takes a line on what was edited since the run began.
    """
    stored = folder / "config.yaml"
    begun = (folder / "emulator.safetensors").exists() or bool(checkpoints_of(folder))
    if begun and not stored.is_file():
        raise MeshcastError(f"{folder} holds an emulator without its config.yaml. Choose another name or output.")
    before = load(ExperimentConfig, stored) if stored.is_file() else config
    if not begun:  # nothing yet, or a run that failed before it came to anything
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if changes(before, config):
                for name in ("budget.json", "energy.json"):
                    (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise MeshcastError(f"Cannot make the run folder {folder}: {error.strerror}. Set output=FOLDER.") from None
        dump(config, stored)
        return False
    if resume == "never":
        raise MeshcastError(
            f"{folder} already holds a run. Continue it with resume=auto, or choose another name: name=NAME."
        )
    edited, done = refuse_another_run(folder, before, config), folder / "done.json"
    further = config.training.updates > before.training.updates and config.training.minutes is None
    if done.is_file() and not further:
        log.info("%s is done.", folder)
        return True
    _refuse_damaged(folder)
    for line in edited:
        notice(line)
    if edited:
        dump(config, stored)
        done.unlink(missing_ok=True)
    return False


def mark_done(folder: Path, trained: TrainedEmulator) -> None:
    """Say that nothing is left to do, so that resuming returns what is there."""
    if not is_first_process():
        return
    forget_earlier(folder)  # first: nobody looks for them in a run that is done
    write_json(folder / "done.json", {"validation_score": trained.metadata.get("validation_score")})


def _refuse_damaged(folder: Path) -> None:
    """Raise MeshcastError at once where a run could only find at its end that its best emulator cannot be read."""
    try:
        if (path := folder / "emulator.safetensors").exists():
            read_emulator(path)
    except MeshcastError as error:
        raise MeshcastError(
            f"{error} The run cannot go on without its best emulator so far. Remove {folder} to start it again."
        ) from None
