"""Reading ahead: the samples of the next batches are read while an update is computed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from emulator.data.arrays import ArrayFields
from emulator.fields import Fields
from emulator.harmonic_fields import HarmonicFields

BATCHES = 2  # read ahead: one that is ready, and one that is being read


class ReadAhead(DataLoader[Any]):
    """A loader whose batches are read by a thread, in the order in which they are taken.

    Reading waits for disks and for a library that unpacks, both beside Python's interpreter, so that a thread is enough
    and nothing is copied between processes. A sample is a function of its place in the stream alone: nothing depends on
    how far ahead it is read.

    waited: seconds that batches were waited for so far.
    """

    waited = 0.0

    def __iter__(self) -> Any:
        return self._ahead(super().__iter__())

    def _ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(BATCHES - 1)
        ended = threading.Event()

        def put(batch: Any, error: BaseException | None) -> bool:
            while not ended.is_set():
                try:
                    ready.put((batch, error), timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                for batch in batches:
                    if not put(batch, None):
                        return
                put(None, StopIteration())
            except BaseException as error:  # which is raised where the batch is taken
                put(None, error)

        thread = threading.Thread(target=read, name="reads ahead", daemon=True)
        thread.start()
        try:
            while True:
                begun = time.perf_counter()
                batch, error = ready.get()
                self.waited += time.perf_counter() - begun
                if isinstance(error, StopIteration):
                    return
                if error is not None:
                    raise error
                yield batch
        finally:
            ended.set()
            thread.join()


def loader_of(fields: Fields) -> type[DataLoader[Any]]:
    """Return what loads windows of some fields: those in memory are there at once, others are read ahead."""
    return DataLoader if isinstance(fields, ArrayFields | HarmonicFields) else ReadAhead
