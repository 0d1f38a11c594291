"""Weights & Biases: online, or as files in the run folder for `wandb sync`."""

from __future__ import annotations

import os
import re
import struct
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from graphs.errors import MeshcastError
from graphs.temporary_files import discard
from training.tracking.tracker import Outcome, RefusedError, Row, TrackedRun, refuse_absent

PICTURE = "forecast"
ANSWERS_WITHIN = 10  # seconds for a first sign of its server
OPENS_WITHIN, ENDS_WITHIN = 15, 60  # seconds that W&B itself waits for it
WRITES_WITHIN = 10.0  # seconds after its end until a run is in its file
BLOCK = 32_768  # bytes


class WandbTracker:
    """One run of Weights & Biases, under one identifier however often it is resumed; its steps are updates.

    Offline, each start writes the whole history anew, so that one folder, uploaded once, is the run; those of earlier
    starts are removed when it is finished. Online, the server says how far it has come, and what cannot be reached
    at the start is recorded offline.

    Raises MeshcastError where the package is missing, and for a new run where nobody is logged in.
    """

    name = "Weights & Biases"
    key = "wandb"

    def __init__(self, run: TrackedRun, mode: Literal["offline", "online"]) -> None:
        refuse_absent("wandb", f"tracking.wandb={mode}")
        self._tracked, self._mode = run, mode
        self._run: Any = None
        self._fell_back = self._ended = False
        self.notices: list[str] = []
        if mode == "online" and not run.resumed and not _has_credentials():
            raise MeshcastError(
                "Weights & Biases cannot be reached: nobody is logged in. Log in with `wandb login`, or set "
                "tracking.wandb=offline."
            )

    def open(self) -> int:
        """See `Tracker`."""
        import wandb
        from wandb.errors import AuthenticationError, UsageError

        if self._run is not None:
            self._run.finish(exit_code=1)
        self._run, self._fell_back, new = None, False, not self._tracked.resumed
        if self._mode == "online":
            try:
                refuse_unreachable()
                self._run = self._begun("online")
            except Exception as error:  # whatever a network does
                if new and isinstance(error, AuthenticationError | UsageError):
                    raise RefusedError(str(error)) from None
                reason = str(error).strip().split("\n", 1)[0][:300].rstrip(".")
                self.notices.append(
                    f"{self.name} cannot be reached: {reason}. The run is recorded in files, for `wandb sync`."
                )
                self._fell_back = True
                if not isinstance(error, ConnectionError):
                    wandb.teardown()  # its process keeps the identifier of a run that it could not begin
        self._run = self._run or self._begun("offline")
        return int(self._run.step) - 1 if self._run.resumed else -1

    def log(self, rows: Sequence[Row]) -> None:
        """See `Tracker`."""
        import wandb

        for row in rows:
            picture = {} if row.picture is None else {PICTURE: wandb.Image(str(row.picture))}
            self._run.log({**row.values, **picture}, step=row.update)

    def finish(self, outcome: Outcome) -> None:
        """See `Tracker`."""
        import wandb

        self._run.summary.update(dict(outcome.scores))
        if outcome.model is not None:
            artifact = wandb.Artifact(artifact_name(self._tracked.name), type="model")
            for path in (outcome.model, *outcome.files):
                artifact.add_file(str(path.resolve()), name=path.name, policy="immutable")  # no copy is made first
            self._run.log_artifact(artifact)
        if outcome.status == "stopped":
            self._run.mark_preempting()
        self._run.finish(exit_code=int(outcome.status != "finished"))
        self._refuse_cut_short()
        self._ended = True
        for earlier in self._stores():
            if earlier != Path(self._run.settings.sync_dir).name:
                discard(self._folder / earlier)

    def remedy(self) -> str:
        """See `Tracker`."""
        if self._mode == "offline" or self._run is None:
            return ""
        folder = self._run.settings.sync_dir
        uploaded = self._ended and not self._fell_back and not getattr(self._run, "_finish_timed_out", False)
        return "" if uploaded else f"Upload what is in {folder}: wandb sync {folder}"

    def _refuse_cut_short(self) -> None:
        """Raise OSError where files do not hold the end of the run: W&B does not tell of a disk that is full."""
        folder = Path(self._run.settings.sync_dir)
        store, limit = folder / f"run-{self._tracked.memory.id}.wandb", time.monotonic() + WRITES_WITHIN
        while not has_end(store):
            if time.monotonic() > limit:
                raise OSError(f"{store} is cut short, as on a disk that is full")
            time.sleep(0.05)

    @property
    def _folder(self) -> Path:
        return self._tracked.folder / "wandb"

    def _stores(self) -> list[str]:
        # Of two starts in one second the later folder ends in -1.
        return [path.name for path in self._folder.glob(f"offline-run-*-{self._tracked.memory.id}*")]

    def _begun(self, mode: Literal["offline", "online"]) -> Any:
        run = begin(
            id=self._tracked.memory.id,
            name=self._tracked.name,
            project=self._tracked.project,
            dir=str(self._tracked.folder),
            mode=mode,
            config={**self._tracked.config, "meshcast": dict(self._tracked.facts)},
        )
        if not Path(run.settings.sync_dir).resolve().is_relative_to(self._tracked.folder.resolve()):
            self.notices.append(f"{self.name} cannot write to {self._folder}; its files are in {run.settings.sync_dir}")
        return run


def begin(**what: Any) -> Any:
    """Return a run of W&B begun or resumed, of which nothing is sent but what is logged.

    Neither code, git, command line, environment, packages, console, name and measurements of the machine, nor W&B's
    reports of its own errors.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        host="-",
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=OPENS_WITHIN,
        finish_timeout=ENDS_WITHIN,
    )
    return wandb.init(resume="allow", reinit="create_new", settings=settings, **what)


def refuse_unreachable() -> None:
    """Raise ConnectionError where the server of W&B gives no answer at all, before W&B itself waits for one."""
    import wandb

    address = wandb.setup().settings.base_url
    try:
        urllib.request.urlopen(address, timeout=ANSWERS_WITHIN).close()
    except urllib.error.HTTPError:
        return  # an answer
    except OSError as error:
        raise ConnectionError(f"{address} does not answer ({getattr(error, 'reason', None) or error})") from None


def has_end(store: Path) -> bool:
    """Return whether a file of W&B holds the record of its run's end.

    It is a log of LevelDB: after 7 bytes, blocks of 32 KiB with pieces of records, each behind its checksum, length and
    kind (whole, first, middle or last).
    """
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when it is imported

    try:
        content = store.read_bytes()
    except OSError:
        return False
    last: deque[bytes] = deque(maxlen=8)
    place, pieces = 7, b""
    while place + 7 <= len(content):
        if (room := BLOCK - place % BLOCK) < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4) and place <= len(content):
            last.append(pieces)
            pieces = b""
    return any(Record.FromString(record).WhichOneof("record_type") == "exit" for record in last)


def artifact_name(name: str) -> str:
    """Return the name of a run's model as an artifact: of letters, digits, `-`, `_` and `.`, at most 128."""
    return f"emulator-{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"[:128]


def _has_credentials() -> bool:
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":  # nothing can be asked then
        return True
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except Exception:  # a key that is none
        return False
