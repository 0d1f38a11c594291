"""Workers: independent parts of long work, one after another here, or side by side in processes by Dask.

What a part gives depends on the part alone, and whoever asks puts the results together in the order of the parts, so
that it is the same on any number of workers.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from emulator.foundation.threads import num_threads
from graphs.errors import MeshcastError

Part = TypeVar("Part")
Result = TypeVar("Result")

AHEAD = 2  # parts a worker that are sent before the first has come back
ANSWER = 20  # seconds in which a scheduler answers, or a worker starts to
DEATHS = 3  # of workers over one part, after which it is given up
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class Workers(Protocol):
    """Who does the parts of long work.

    together: whether parts are done side by side, in other processes than this.
    """

    together: bool

    def results(
        self, work: Callable[..., Result], parts: Iterable[Part], *shared: Any
    ) -> Iterator[tuple[Part, Result]]:
        """Yield each part with `work(part, *shared)`, in any order; raise what it raises."""
        ...


class OneByOne:
    """This process itself, which does one part after another."""

    together = False

    def results(
        self, work: Callable[..., Result], parts: Iterable[Part], *shared: Any
    ) -> Iterator[tuple[Part, Result]]:
        for part in parts:
            yield part, work(part, *shared)


class DaskWorkers:
    """The workers of a Dask cluster, one thread each; a part whose worker died is done again by another."""

    together = True

    def __init__(self, client: Any) -> None:
        self.client = client

    def results(
        self, work: Callable[..., Result], parts: Iterable[Part], *shared: Any
    ) -> Iterator[tuple[Part, Result]]:
        from distributed import as_completed
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        at_once, waiting, parts = AHEAD * self._count(), dict[str, Part](), iter(parts)
        packed = _Packed.of(shared)
        completed = as_completed([], loop=self.client.loop)
        try:
            while True:
                for part in islice(parts, at_once - len(waiting)):
                    future = self.client.submit(_on_one_thread, work, part, packed, pure=False)
                    waiting[future.key] = part
                    completed.add(future)
                if not waiting:
                    return
                future = next(completed)
                yield waiting.pop(future.key), future.result()
                future.release()
        except KilledWorker as error:
            raise MeshcastError(
                f"{DEATHS} workers died over one part, the last {error.last_worker.address}: for want of memory, or "
                "killed. Take fewer workers, or workers with more memory; parts that are done stay."
            ) from error
        except (CommClosedError, FutureCancelledError) as error:
            raise MeshcastError(
                f"The connection to Dask's scheduler was lost ({type(error).__name__}). See that it runs, and start "
                "the same command again; parts that are done stay."
            ) from error

    def _count(self) -> int:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        return max(1, sum(worker["nthreads"] for worker in workers.values()))


@contextmanager
def workers_of(count: int | None = None, scheduler: str | None = None) -> Iterator[Workers]:
    """Yield the workers that a user asks for.

    count: processes of a local cluster, which ends with the block, and with this process however it ends. It listens on
        this machine alone, and only to who holds its certificate. None or 1: this process itself.
    scheduler: the address of a Dask scheduler that runs, such as `tcp://node1:8786`, in place of a cluster of our own.
        Its workers see the same files under the same names, and have Meshcast in the same version.
    Raises MeshcastError where both are given, or where the scheduler does not answer or has no workers.
    """
    if scheduler is not None and count is not None:
        raise MeshcastError("--workers starts processes on this machine, --scheduler uses those of another: give one.")
    if count is not None and count < 1:
        raise MeshcastError(f"--workers counts processes from 1, but is {count}.")
    if scheduler is None and (count or 1) == 1:
        yield OneByOne()
        return
    with ExitStack() as stack:
        client = _at(scheduler) if scheduler is not None else _local(count or 1, stack)
        stack.callback(client.close, timeout=ANSWER)
        yield DaskWorkers(client)


def _local(count: int, stack: ExitStack) -> Any:
    """Return the client of a cluster of processes on this machine, which a stack ends."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="meshcast-workers-", ignore_cleanup_errors=True))
    settings = {
        "distributed.nanny.pre-spawn-environ": ONE_THREAD | {"MALLOC_TRIM_THRESHOLD_": "65536"},
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.comm.timeouts.connect": f"{ANSWER}s",
        "distributed.admin.system-monitor.gil.enabled": False,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    stack.enter_context(dask.config.set(settings))
    _quiet(stack)
    try:
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # an HTTP server without a page, which a scheduler always has
            worker_dashboard_address="127.0.0.1:0",
            security=Security.temporary(),  # a scheduler runs what it is sent, from any user of the machine
            local_directory=folder,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise MeshcastError(
            f"{count} workers cannot be started on this machine: {error}. Take fewer, or leave --workers away."
        ) from error
    stack.callback(cluster.close, timeout=ANSWER)
    return Client(cluster, set_as_default=False)


def _at(address: str) -> Any:
    """Return a client of a scheduler that runs."""
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MeshcastError(
            f"No Dask scheduler answers at {address} ({reason}). Start one with `dask scheduler`, and `dask worker "
            f"{address} --nthreads 1` on each machine, or say --workers N for processes of this machine."
        ) from None
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise MeshcastError(
            f"The Dask scheduler at {address} has no workers. Start some, with `dask worker {address} --nthreads 1`."
        )
    return client


def _quiet(stack: ExitStack) -> None:
    """Keep Dask's log to itself: of a worker that dies, whoever waits for it tells."""
    for name in ("distributed", "tornado", "asyncio"):
        logger = logging.getLogger(name)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class _Packed:
    """What all parts share, as it is sent with each; a worker unpacks it once.

    It goes with every part, rather than to every worker at the beginning, so that a worker that takes the place of one
    that died lacks nothing.
    """

    content: bytes
    digest: str

    @classmethod
    def of(cls, shared: tuple[Any, ...]) -> _Packed:
        import cloudpickle

        content = cloudpickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)
        return cls(content, hashlib.sha256(content).hexdigest())

    def unpacked(self) -> tuple[Any, ...]:
        if getattr(_unpacked, "digest", None) != self.digest:
            _unpacked.shared, _unpacked.digest = pickle.loads(self.content), self.digest
        shared: tuple[Any, ...] = _unpacked.shared
        return shared


_unpacked = threading.local()  # of the thread that is a worker


def _on_one_thread(work: Callable[..., Result], part: Part, packed: _Packed) -> Result:
    """Return what `work` gives of a part, on one thread: sums over several would depend on how many there are."""
    import dask

    # a part that asks Dask for an array must not wait for the cluster whose worker it keeps
    with num_threads(1), warnings.catch_warnings(), dask.config.set(scheduler="synchronous"):
        warnings.simplefilter("ignore")
        return work(part, *packed.unpacked())
