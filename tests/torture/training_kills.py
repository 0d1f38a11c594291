"""Kills of trainings at every stage, each then resumed: the weights are those of the training nobody killed.

    python -m tests.torture.training_kills --kills 100 --seed 0

Networks in torch and in Keras, in one process and in two that share the work, fork from one process with all libraries
imported. Half of the signals are SIGKILL, at a chosen call of a chosen function or at a random moment; the others ask
the training to end, and what it then keeps must be no older than the signal. Every sixth training is killed three times
in a row. `changing ranks` goes on in two processes where it was killed in one, and in one where it was in two: in
double precision its weights are the same to rounding, all others' to the bit.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.ranks import environment, free_port

PATIENCE = 120.0  # seconds by the clock, after which a training hangs
UPDATES, EVERY = 14, 4

# Where a training is ended: a function, and the most calls of it in one run.
STAGES = {
    "preparation": ("training.preparation.prepared", "prepare", 1),
    "first guess": ("training.runs.fit", "initial_network", 1),
    "description of the data": ("training.runs.fit", "keep_data", 1),
    "validation": ("training.optimisation.validation", "validation_forecast", 5),
    "update": ("training.optimisation.module", "EmulatorModule.training_step", UPDATES),
    "averaging": ("training.optimisation.module", "EmulatorModule.on_train_batch_end", UPDATES),
    "log": ("training.metrics_log", "MetricsLog.append", 5),
    "best emulator": ("emulator.checkpoint", "save", 5),
    "checkpoint": ("training.resumable", "digest_of", 5),
    "between write and rename": ("os", "replace", 20),
    "moving back": ("os", "link", 4),
    "synchronisation": ("os", "fsync", 20),
    "the end": ("training.runs.fit", "mark_done", 1),
    "the last removals": ("training.run_folder", "forget_earlier", 1),
}
IN_KERAS = {
    "update": ("training.optimisation.keras_training", "KerasFit.step", UPDATES),
    "averaging": ("training.optimisation.keras_training", "KerasFit.candidates", 5),
}
SOFT = ("SIGTERM", "SIGHUP", "SIGUSR1")


@dataclass(frozen=True)
class Kill:
    """One training that is ended early.

    network: torch, strategies, keras, "two ranks" or "changing ranks". stage: of STAGES, or "" for a random moment,
        `at` of the whole run's time.
    call: of the stage's function, from 1.
    """

    network: str
    signal: str
    stage: str
    call: int
    at: float


def kills(count: int, seed: int, networks: tuple[str, ...]) -> Iterator[Kill]:
    """Yield so many kills, every stage of every network in turn."""
    draw = random.Random(seed)
    for number in range(count):
        network = networks[number % len(networks)]
        stage = [*STAGES, "", ""][number // len(networks) % (len(STAGES) + 2)]
        _, _, most = stage_of(network, stage) if stage else ("", "", 1)
        name = draw.choice(("SIGKILL", "SIGKILL", "SIGKILL", *SOFT))
        yield Kill(network, name, stage, draw.randint(1, most), draw.uniform(0.0, 1.0))


def stage_of(network: str, stage: str) -> tuple[str, str, int]:
    """Return the module, the function in it and its calls at most, where a stage is entered."""
    return (IN_KERAS if network == "keras" else {}).get(stage, STAGES[stage])


class Bench:
    """Trainings in forks of this process, in a folder of their own."""

    def __init__(self, folder: Path, networks: tuple[str, ...]) -> None:
        from emulator.foundation.configuration import dump
        from emulator.networks.keras_networks.keras_models import KerasCNNConfig
        from tests.training.worlds import experiment
        from training.shares import BATCH_SIZE

        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.whole: dict[str, list[Any]] = {}
        plain = experiment(folder, training={"updates": UPDATES, "warm_up": 2}, validation={"every": EVERY})
        two = replace(plain.training, batch_size=2, devices=2, strategy="ddp")
        doubled = replace(plain.training, batch_size=BATCH_SIZE, global_batch_size=4, precision="64-true")
        strategies = {"curriculum": ((0.4, 1), (0.3, 2), (0.3, 3)), "plateau": 1, "patience": 1, "random_unroll": True,
                      "gradient_steps": 1, "frozen": ("encoder.*",), "loss": "crps", "members": 2}  # fmt: skip
        self.configs = {
            "changing ranks": replace(plain, training=doubled),
            "torch": plain,
            "strategies": replace(plain, training=replace(plain.training, **strategies)),
            "two ranks": replace(plain, training=two),
            "keras": replace(plain, emulator=KerasCNNConfig(width=4, num_layers=2)),
        }
        for network in networks:
            since = time.monotonic()
            dump(replace(self.configs[network], name=self._name(network)), folder / f"{self._name(network)}.yaml")
            code = self._ended(network, self._name(network), None, 1)
            assert code == 0, (
                f"{network}: the run that nobody kills ended with {code}: {self._log(self._name(network))}"
            )
            self.seconds[network] = time.monotonic() - since
            self.whole[network] = outcome(folder / self._name(network))

    def run(self, kill: Kill, number: int) -> str:
        """Return how a kill ended, "" where nothing was wrong."""
        name = f"{self._name(kill.network)}-{number}"
        text = (self.folder / f"{self._name(kill.network)}.yaml").read_text()
        (self.folder / f"{name}.yaml").write_text(text.replace(f"name: {self._name(kill.network)}", f"name: {name}", 1))
        at, fault = self.folder / name, ""
        again = [replace(kill, stage="", at=kill.at * share) for share in (0.8, 1.0)] if number % 6 == 5 else []
        for attempt, each in enumerate([kill, *again]):
            fault = fault or self._fault(each, self._ended(kill.network, name, each, number + attempt), at)
        for attempt in range(2):  # what has ended well is returned as it is
            if not fault and (resumed := self._ended(kill.network, name, None, number + 1 + attempt)) != 0:
                fault = f"resuming ended with {resumed}: {self._log(name)[-800:]}"
        if not fault and not self._as_whole(kill.network, at):
            fault = "other weights or other logs than those of the training nobody killed"
        if not fault and (left := sorted(path.name for path in at.glob("*.part"))):
            fault = f"left {', '.join(left)}"
        shutil.rmtree(at, ignore_errors=True)
        return fault

    def _fault(self, kill: Kill, code: int, folder: Path) -> str:
        number = getattr(signal, kill.signal)
        if code == 0 or (kill.signal == "SIGKILL" and code == -9) or code == -number:
            return ""
        if code == 75 and "ranks" in kill.network:  # another process was gone first
            return "" if "is gone" in self._log(folder.name) else f"said: {self._log(folder.name)[-800:]}"
        if code != 128 + number:
            return f"ended with {code}: {self._log(folder.name)[-800:]}"
        said = self._log(folder.name)
        begun = folder / "begun"
        taken = int(begun.read_text()) if begun.is_file() else 0
        if said.count("Ended by") != 1:
            return f"said: {said[-800:]}"
        from training.resumable import updates_done

        kept = updates_done(folder / "last.ckpt")
        return "" if kept >= taken else f"after the signal update {kept} was kept, of {taken} that were complete"

    def _as_whole(self, network: str, folder: Path) -> bool:
        if network != "changing ranks":
            return bool(outcome(folder) == self.whole[network])
        return near(folder, self.folder / self._name(network))

    def _name(self, network: str) -> str:
        return network.replace(" ", "-")

    def _log(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace") if log.is_file() else ""

    def _ended(self, network: str, name: str, kill: Kill | None, number: int) -> int:
        """Return the exit code of a training's first process; `number` decides on how many it runs, if that changes."""
        (self.folder / f"{name}.log").unlink(missing_ok=True)
        ranks = {"two ranks": 2, "changing ranks": 1 + number % 2}.get(network, 1)
        port = free_port() if ranks > 1 else 0
        pids = [self._forked(name, rank, ranks, port, kill) for rank in range(ranks)]
        until, ends = time.monotonic() + PATIENCE, time.monotonic() + (kill.at * self.seconds[network] if kill else 0)
        code: int | None = None
        waiting, alone = set(pids), math.inf
        while waiting:
            for pid in list(waiting):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    waiting.discard(pid)
                    code = os.waitstatus_to_exitcode(status) if pid == pids[0] else code
                    alone = min(alone, time.monotonic() + (0.0 if os.WIFSIGNALED(status) else 10.0))
            if waiting and time.monotonic() > alone:  # as schedulers do when a process of a job has ended
                for pid in waiting:
                    os.kill(pid, signal.SIGKILL)
                alone = math.inf
            if kill is not None and not kill.stage and time.monotonic() > ends:
                for pid in waiting:
                    os.kill(pid, getattr(signal, kill.signal))
                ends = until
            if time.monotonic() > until:
                for pid in waiting:
                    os.kill(pid, signal.SIGKILL)
                code = 124
            time.sleep(0.005)
        return code if code is not None else 124

    def _forked(self, name: str, rank: int, ranks: int, port: int, kill: Kill | None) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        if (pid := os.fork()) != 0:
            return pid
        code = 1
        try:
            os.setsid()
            said = os.open(self.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(said, 1)
            os.dup2(said, 2)
            os.chdir(self.folder)
            if ranks > 1:
                os.environ |= environment(rank, ranks, 1, port)
            if kill is not None and kill.stage:
                arm(kill, self.folder / name, rank)
            strategy = "ddp" if ranks > 1 else "auto"
            shared = [f"training.devices={ranks}", f"training.strategy={strategy}"] if "changing" in name else []
            code = command(["train", f"{name}.yaml", "resume=auto", *shared])
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def arm(kill: Kill, folder: Path, rank: int) -> None:
    """Have a call of the stage's function send this process the signal first."""
    module_name, way, _ = stage_of(kill.network, kill.stage)
    owner: Any = importlib.import_module(module_name)
    *parents, name = way.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function, calls = getattr(owner, name), [0]

    def ended(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == kill.call:
            if kill.stage == "update" and rank == 0:
                (folder / "begun").write_text(str(kill.call - 1))
            os.kill(os.getpid(), getattr(signal, kill.signal))
        return function(*arguments, **named)

    setattr(owner, name, ended)


def command(arguments: list[str]) -> int:
    """Run the command line in this process, and return its exit code."""
    from meshcast.main import run

    sys.argv = ["meshcast", *arguments]
    try:
        run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def outcome(folder: Path) -> list[Any]:
    """Return weights and logs of a finished run, without its times."""
    from emulator.checkpoint import read
    from training.metrics_log import read_log
    from training.resumable import read_checkpoint

    state = read_checkpoint(folder / "last.ckpt")
    weights = state["state_dict"].values() if "state_dict" in state else [*state["weights"], *state["averages"]]
    kept = [array.numpy().tobytes() for _, array in sorted(read(folder / "emulator.safetensors")[0].items())]
    rows = [[repr(row[name]) for name in row if name != "seconds"] for row in read_log(folder / "metrics.csv")]
    return [state["global_step"], [np.asarray(weight).tobytes() for weight in weights], kept, rows,
            (folder / "losses.csv").read_bytes()]  # fmt: skip


def near(one: Path, other: Path) -> bool:
    """Return whether two runs in double precision have the same weights and logs, but for the order of sums."""
    from training.metrics_log import read_log
    from training.resumable import read_checkpoint

    states = [read_checkpoint(folder / "last.ckpt") for folder in (one, other)]
    weights = [[value.numpy() for value in state["state_dict"].values()] for state in states]
    same = all(np.allclose(*pair, rtol=1e-12, atol=1e-12) for pair in zip(*weights, strict=True))
    logs = [
        [[value for name, value in row.items() if name != "seconds"] for row in read_log(folder / file)]
        for file in ("metrics.csv", "losses.csv")
        for folder in (one, other)
    ]
    alike = [np.allclose(logs[at], logs[at + 1], rtol=1e-7, equal_nan=True) for at in (0, 2)]
    return bool(same and all(alike) and states[0]["global_step"] == states[1]["global_step"])


def bench(
    count: int, seed: int, networks: tuple[str, ...], minutes: float, say: Callable[[str], None] = print
) -> tuple[Counter[str], list[str]]:
    """Make so many kills, or as many as the minutes allow; their numbers by network and stage, and what was wrong."""
    for library in ("lightning", "meshcast.main", "training.optimisation.gradient_descent"):
        importlib.import_module(library)
    if "keras" in networks:
        from emulator.networks.keras_networks.tensorflow_library import keras

        keras()
    found: Counter[str] = Counter()
    faults: list[str] = []
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        trainings = Bench(Path(folder).resolve(), networks)
        say(f"undisturbed: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in trainings.seconds.items())}")
        for number, kill in enumerate(kills(count, seed, networks)):
            if time.monotonic() > until:
                break
            fault = trainings.run(kill, number)
            found.update((kill.network, kill.signal, kill.stage or "a random moment"))
            found["all"] += 1
            if fault:
                faults.append(f"{kill}: {fault}")
                say(faults[-1])
    return found, faults


def main() -> int:
    """Run the bench from the command line; exit code 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="training_kills", description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--networks", nargs="*", default=["torch", "strategies", "keras", "two ranks", "changing ranks"]
    )
    options = parser.parse_args()
    found, faults = bench(options.kills, options.seed, tuple(options.networks), options.minutes)
    print(", ".join(f"{name} {number}" for name, number in found.most_common()))
    print(f"{found['all']} trainings killed and resumed, {len(faults)} wrong")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
