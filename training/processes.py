"""The processes that share a training: which is the first, what it decides for all, and which of them is gone.

torchrun and Slurm start them from outside, on one or several nodes; Lightning starts those of one machine itself when
the training begins. Everything here goes through the store of torch.distributed, TCPStore.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as distributed

from graphs.errors import MeshcastError
from training.early_end import TO_BE_GONE_ON_WITH
from training.experiment import TrainingConfig

ANSWER = timedelta(seconds=5)  # in which a process that lives answers, even within a computation of minutes
LOOK = timedelta(seconds=1)
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
INTERACTIVE = ("bash", "interactive")  # names of Slurm's jobs in which Lightning starts processes itself

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_decisions, _roll_calls = count(1), count(1)  # the same in all processes, which take them in one order


class LostProcessError(MeshcastError):
    """Another process of the training is gone; what a scheduler should do is start all of them again."""

    exit_code = TO_BE_GONE_ON_WITH


def is_first_process(processes: int | None = None) -> bool:
    """Return False in the further processes of a distributed run, which write nothing.

    Lightning, torchrun and Slurm each number processes and nodes in variables of their own; the first is 0 in all. A
    training of one process is the first whatever number a scheduler gave it.

    processes: that share the training; by default as `sharing` has it.
    """
    if processes == 1 or (processes is None and _alone.get()):
        return True
    return all(int(os.environ.get(name) or 0) == 0 for name in RANKS)


@contextmanager
def sharing(training: TrainingConfig) -> Iterator[None]:
    """Connect the processes that torchrun or Slurm has started for a training, within a block.

    Raises MeshcastError where they are not as many as share the training, LostProcessError where they do not come.
    """
    (launcher, tasks), processes = started_by(), training.processes
    if launcher and tasks != processes and (processes > 1 or launcher == "torchrun"):
        option = "--nproc-per-node" if launcher == "torchrun" else "--ntasks-per-node"
        raise MeshcastError(
            f"{launcher} has started {tasks} process{'es' * (tasks > 1)}, but training.devices x training.num_nodes "
            f"are {processes}. Set training.devices to the processes on a node, as {option} has it, and "
            "training.num_nodes to the nodes."
        )
    if not launcher and processes > 1 and int(os.environ.get("SLURM_PROCID") or 0) > 0 and not _of_lightning():
        raise MeshcastError(
            f"Slurm has started several tasks of a job named {os.environ.get('SLURM_JOB_NAME')}, which Lightning takes "
            "for a shell. Give it another name: --job-name=NAME."
        )
    if not launcher and processes > 1 and "LOCAL_RANK" in os.environ and "MASTER_ADDR" not in os.environ:
        raise MeshcastError(
            f"LOCAL_RANK is {os.environ['LOCAL_RANK']}, as where torchrun has started this process, but MASTER_ADDR "
            "does not say where the others are. Start it by torchrun, or unset LOCAL_RANK."
        )
    token = _alone.set(processes == 1)
    connected = bool(launcher) and processes > 1 and not distributed.is_initialized()
    try:
        if connected:
            _connect(launcher, tasks, _backend(training))
        yield
        if connected:
            distributed.destroy_process_group()  # not after an error: it would wait for the processes that are gone
    finally:
        _alone.reset(token)


def started_by() -> tuple[str, int]:
    """Return what started the processes of this training, torchrun or srun, and how many; "" and 1 for neither."""
    if distributed.is_available() and distributed.is_torchelastic_launched():
        return "torchrun", int(os.environ["WORLD_SIZE"])
    step = os.environ.get("SLURM_STEP_ID", "")
    if "SLURM_PROCID" in os.environ and step.isdigit() and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return "srun", int(os.environ["SLURM_NTASKS"])
    return "", 1


def decided(decide: Callable[[], Any]) -> Any:
    """Return what the first process decides, in plain types, in all that torchrun or srun has started.

    What ends the first process in it ends the others with its exit code, without a word. The further processes of
    Lightning's own launcher start when all is decided: they get None, and look at what was written.
    """
    if _alone.get() or not distributed.is_initialized():
        return decide() if is_first_process() else None
    store, key = _store(), f"decision/{next(_decisions)}"
    if distributed.get_rank() > 0:
        found = json.loads(_when_there(store, key))
        if found["code"]:
            store.set(f"{key}/read/{distributed.get_rank()}", "")
            raise SystemExit(found["code"])
        return found["decision"]
    code = 1
    try:
        decision = decide()
        code = 0
    except (MeshcastError, SystemExit) as error:
        code = error.exit_code if isinstance(error, MeshcastError) else int(error.code or 0)
        raise
    finally:
        store.set(key, json.dumps({"code": code, "decision": decision if code == 0 else None}))
        if code:  # the store may go with this process
            with suppress(RuntimeError):
                readers = range(1, distributed.get_world_size())
                store.wait([f"{key}/read/{rank}" for rank in readers], ANSWER)
    return decision


def leave_together() -> None:
    """Wait for the others at the end: the first process's store goes with it, and its last decision must be read."""
    if not _alone.get() and distributed.is_initialized():
        with suppress(RuntimeError):  # one that was quicker to leave than this one was to hear of it
            distributed.barrier()


ADVICE = "What was learned until the last checkpoint is kept, and resume=auto goes on from there."


class RollCall:
    """Finds out which process is gone where a connection breaks.

    A thread of each process waits for the call, so that a process answers though it waits for another just then. One
    that ends by a fault of its own says so before it goes.
    """

    def __init__(self) -> None:
        self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        self._store = distributed.PrefixStore(f"roll call {next(_roll_calls)}", _store())
        # A connection of its own: one that waits serves nobody else. PyTorch's stubs do not know it.
        self._others: Any = self._store.clone()  # type: ignore[attr-defined]
        self._ended: dict[str, Any] = {}
        self._store.set(f"name/{self.rank}", f"{socket.gethostname()}, process number {os.getpid()}")
        self._store.wait([f"name/{rank}" for rank in range(self.ranks)])
        self.names = [self._store.get(f"name/{rank}").decode() for rank in range(self.ranks)]
        self._thread = threading.Thread(target=self._answer, name="roll call", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, so that it does not outlive its store."""
        with suppress(RuntimeError):
            self._store.set(f"call/{self.rank}", "")
            self._thread.join(ANSWER.total_seconds())

    def say(self, code: int, text: str) -> None:
        """Have the others know that this process ends by a fault of its own, and why."""
        with suppress(RuntimeError):
            self._store.set("ended", json.dumps({"rank": self.rank, "code": code, "text": text}))
            self._missing()

    def lost(self, error: BaseException) -> MeshcastError | None:
        """Return which process is gone, None where an error does not come from a connection that broke."""
        if not isinstance(error, RuntimeError) or not _broken_connection(error):
            return None
        try:
            missing = [] if self._ended else self._missing()
        except RuntimeError:  # the store went with its process
            missing = [0] if self.rank else []
        if self._ended:
            ended = LostProcessError(f"{self._named(self._ended['rank'])} has ended: {self._ended['text']}")
            ended.exit_code = self._ended["code"]
            return ended
        if not missing:
            return LostProcessError(
                f"The connection between processes broke, though all {self.ranks} of them answer: "
                f"{_first_line(error)}. {ADVICE}"
            )
        gone = " and ".join(self._named(rank) for rank in missing)
        return LostProcessError(f"{gone} is gone. {ADVICE}")

    def _named(self, rank: int) -> str:
        return f"Process {rank} of {self.ranks} ({self.names[rank]})"

    def _missing(self) -> list[int]:
        """Return the processes that do not answer."""
        others = [rank for rank in range(self.ranks) if rank != self.rank]
        for rank in others:
            self._store.set(f"call/{rank}", "")
        answers = {rank: f"present/{rank}" for rank in others}
        with suppress(distributed.DistStoreError):
            self._store.wait(list(answers.values()), ANSWER)
        return [rank for rank, key in answers.items() if not self._store.check([key])]

    def _answer(self) -> None:
        with suppress(RuntimeError):  # a store that is gone
            self._others.wait([f"call/{self.rank}"], timedelta(days=365))
            if self._others.check(["ended"]):
                self._ended = json.loads(self._others.get("ended"))
            self._others.set(f"present/{self.rank}", "")


def _of_lightning() -> bool:
    """Return whether Lightning's own launcher has started this process."""
    return int(os.environ.get("LOCAL_RANK") or 0) > 0


def _connect(launcher: str, tasks: int, backend: str) -> None:
    variables: Mapping[str, str] = os.environ
    if launcher == "srun":
        from lightning.fabric.plugins.environments import SLURMEnvironment

        slurm = SLURMEnvironment(auto_requeue=False)
        os.environ |= {"MASTER_ADDR": slurm.main_address, "MASTER_PORT": str(slurm.main_port)}
        variables = os.environ | {"RANK": str(slurm.global_rank()), "LOCAL_RANK": str(slurm.local_rank())}
    rank, local = int(variables["RANK"]), int(variables["LOCAL_RANK"])
    if backend == "nccl":
        if local >= torch.cuda.device_count():
            raise MeshcastError(
                f"Process {rank} on {socket.gethostname()} is number {local} there, but sees "
                f"{torch.cuda.device_count()} GPUs. Start as many processes on a node as it has GPUs."
            )
        torch.cuda.set_device(local)
    try:
        distributed.init_process_group(backend, init_method="env://", rank=rank, world_size=tasks)
    except (RuntimeError, ValueError) as error:
        raise LostProcessError(
            f"Process {rank} of {tasks} on {socket.gethostname()} found the others not at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {_first_line(error)}. See that the nodes reach "
            "each other there, or choose another port by MASTER_PORT."
        ) from None


def _backend(training: TrainingConfig) -> str:
    """Return what Lightning would choose."""
    if training.backend != "auto":
        return training.backend
    return "nccl" if training.accelerator != "cpu" and torch.cuda.is_available() else "gloo"


def _store() -> Any:
    return distributed.distributed_c10d._get_default_store()


def _when_there(store: Any, key: str) -> str:
    """Return a value of the store once it is there; a signal is heard between two looks."""
    while True:
        try:
            store.wait([key], LOOK)
            return str(store.get(key).decode())
        except distributed.DistStoreError:  # not yet
            continue
        except RuntimeError as error:
            raise LostProcessError(
                f"Process 0, which decides for all, is gone: {_first_line(error)}. {ADVICE}"
            ) from None


def _broken_connection(error: RuntimeError) -> bool:
    if isinstance(error, distributed.DistError):
        return True
    text = str(error).lower()
    return any(
        word in text for word in ("gloo", "connection closed", "connection reset", "nccl", "socket", "broken pipe")
    )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
