"""Parts on workers: all come back, faults are told, and nothing of a cluster outlives its user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.foundation.workers import DaskWorkers, OneByOne, workers_of
from graphs.errors import MeshcastError


@pytest.fixture(scope="module")
def workers() -> Iterator[DaskWorkers]:
    """Two workers that are threads of this process, which cost no start."""
    from distributed import Client

    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with Client(**options, set_as_default=False) as client:
        yield DaskWorkers(client)


def doubled(part: int, more: list[int]) -> int:
    return 2 * part + sum(more)


def refusing(part: int) -> int:
    raise MeshcastError(f"The part {part} cannot be.")


def dying(part: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_once(part: int, marks: str) -> int:
    mark = Path(marks) / str(part)
    if part == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def about_the_process(part: int) -> tuple[str | None, int, bool]:
    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), "tensorflow" in sys.modules


def test_every_part_comes_back_with_its_result(workers: DaskWorkers) -> None:
    for those in (OneByOne(), workers):
        assert sorted(those.results(doubled, range(9), [1, 2])) == [(part, 2 * part + 3) for part in range(9)]
        assert list(those.results(doubled, [], [1])) == []


def test_a_refusal_in_a_part_is_the_refusal_of_all(workers: DaskWorkers) -> None:
    for those in (OneByOne(), workers):
        with pytest.raises(MeshcastError, match=r"The part \d cannot be"):
            list(those.results(refusing, range(3)))


def test_one_worker_is_this_process_and_two_ways_at_once_are_refused() -> None:
    with workers_of() as none, workers_of(1) as one:
        assert isinstance(none, OneByOne) and isinstance(one, OneByOne)
    with pytest.raises(MeshcastError, match="give one"), workers_of(2, "tcp://127.0.0.1:1"):
        pass
    with pytest.raises(MeshcastError, match="counts processes from 1, but is 0"), workers_of(0):
        pass


def test_a_scheduler_that_is_not_there_or_has_no_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("emulator.foundation.workers.ANSWER", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        told = pytest.raises(MeshcastError, match=f"No Dask scheduler answers at {address} .*dask scheduler")
        with told, workers_of(scheduler=address):
            pass
    idle = LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0")
    with idle, pytest.raises(MeshcastError, match="has no workers"), workers_of(scheduler=idle.scheduler_address):
        pass


@pytest.mark.slow
def test_processes_have_one_thread_each_and_no_tensorflow_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with workers_of(2) as those:
        assert {result for _, result in those.results(about_the_process, range(4))} == {("1", 1, False)}
        assert sorted(result for _, result in those.results(dying_once, range(6), str(tmp_path))) == list(range(6))
    with workers_of(2) as those, pytest.raises(MeshcastError, match="3 workers died over one part"):
        list(those.results(dying, range(1)))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_cluster_listens_here_alone_and_ends_with_its_user_however_that_ends(how: signal.Signals) -> None:
    code = (
        "import time\nfrom emulator.foundation.workers import workers_of\n"
        "if __name__ == '__main__':\n with workers_of(2):\n  print('up', flush=True)\n  time.sleep(300)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    family = descendants(process.pid)
    assert len(family) >= 2 and listening({process.pid, *family}) == {"0100007F"}  # 127.0.0.1, as /proc has it
    process.send_signal(how)
    process.wait(60)
    deadline = time.monotonic() + 30
    while any(alive(one) for one in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [one for one in family if alive(one)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(process: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child), *descendants(int(child))}
    return found


def listening(processes: set[int]) -> set[str]:
    """Return the addresses at which processes listen, as /proc/net/tcp has them."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                sockets.add(os.readlink(descriptor))
            except OSError:
                continue
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {words[1].split(":")[0] for words in lines if words[3] == "0A" and f"socket:[{words[9]}]" in sockets}
