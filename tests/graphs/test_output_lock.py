"""One process at a time writes an output, and whoever comes second is told who has it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from graphs.output_lock import InUseError, output_lock
from tests.meshcast.command_line import no_file_beyond

HOLD = """
import sys, time
from graphs.output_lock import output_lock
with output_lock({path!r}, folder={folder}):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path, folder: bool = False) -> subprocess.Popen[str]:
    """A process that holds an output."""
    source = HOLD.format(path=str(path), folder=folder)
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "SLURM_JOB_ID": "4711"}
    process = subprocess.Popen([sys.executable, "-c", source], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_process_is_told_who_has_the_output_and_gets_it_when_that_one_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path / "run", folder=True)
    try:
        with pytest.raises(InUseError) as refusal, output_lock(tmp_path / "run", folder=True):
            pytest.fail("two processes hold one output")
        for words in (f"process {process.pid} on {socket.gethostname()} (Slurm job 4711)", "run is being written"):
            assert words in str(refusal.value)
        with output_lock(tmp_path / "other"):  # another output
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with output_lock(tmp_path / "run", folder=True):
        assert json.loads((tmp_path / "run" / ".lock").read_text())["process"] == os.getpid()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_block_within_a_block_holds_the_same_output_and_another_thread_does_not(tmp_path: Path) -> None:
    refused = []

    def other() -> None:
        try:
            with output_lock(tmp_path / "a.nc"):
                pass
        except InUseError:
            refused.append(True)

    with output_lock(tmp_path / "a.nc"):
        with output_lock(tmp_path / "." / "a.nc"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert refused == [True]
    with output_lock(tmp_path / "a.nc"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_hold_the_output_beyond_its_parents_block(tmp_path: Path) -> None:
    to_child, from_parent = os.pipe()
    with output_lock(tmp_path / "a.nc"):
        child = os.fork()
        if child == 0:
            os.read(to_child, 1)
            os._exit(0)
    with output_lock(tmp_path / "a.nc"):
        os.write(from_parent, b".")
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_named_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def lockless(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", lockless)
    with output_lock(tmp_path / "a.nc"):
        pass
    assert "file system without locks" in caplog.text and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_what_another_user_left_locked_is_no_hindrance(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # which others may reach
    try:
        folder.chmod(0o777)
        (folder / ".a.nc.lock").write_text("")
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                os.setuid(65534)
                with output_lock(folder / "a.nc"):
                    code = 0
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0 and list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_a_full_disk_locks_too(tmp_path: Path) -> None:
    with no_file_beyond(0), output_lock(tmp_path / "a.nc"):
        assert (tmp_path / ".a.nc.lock").read_bytes() == b""
    assert list(tmp_path.iterdir()) == []


def test_a_link_planted_at_the_name_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / ".a.nc.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(MeshcastError, match="symbolic link"), output_lock(tmp_path / "a.nc"):
        pytest.fail("followed")
    assert (tmp_path / "victim").read_text() == "untouched"


def test_who_holds_an_output_removes_what_dead_processes_of_other_machines_left_of_it(tmp_path: Path) -> None:
    for name in ("a.nc", "b.nc"):
        (tmp_path / f".{name}.another_1-00000000-1-abcd.part").write_text("half")
    with output_lock(tmp_path / "a.nc"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".b.nc.another_1-00000000-1-abcd.part"]
