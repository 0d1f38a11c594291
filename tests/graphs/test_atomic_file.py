"""What is written is whole or not there, belongs to one process, and never takes the place of what is not ours."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from graphs import atomic_file as module
from graphs import temporary_files
from graphs.atomic_file import atomic_file, atomic_folder, refuse_unwritable, system_errors
from graphs.errors import MeshcastError

DEAD = "-".join((temporary_files._host(), temporary_files._boot(), "{process}", "abcd")) + ".part"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ours(folder: Path) -> bool:
    return (folder / "ours").is_file()


def make(folder: Path, text: str = "new") -> None:
    folder.mkdir()
    (folder / "ours").write_text(text)


@pytest.fixture
def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_two_writers_of_one_file_never_share_a_temporary_name(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as first, atomic_file(tmp_path / "a") as second:
        first.write_text("one")
        second.write_text("two, and longer")
    assert (tmp_path / "a").read_text() == "one" and names(tmp_path) == ["a"]


def test_a_link_planted_at_a_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_files.secrets, "token_hex", lambda count: "0000")
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    (tmp_path / "victim").write_text("untouched")
    temporary.symlink_to(tmp_path / "victim")
    with pytest.raises(MeshcastError, match="Cannot write"), atomic_file(tmp_path / "a") as again:
        again.write_text("over it")
    assert (tmp_path / "victim").read_text() == "untouched"


def test_a_file_is_made_with_the_rights_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_longest_name_a_file_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".json")
    with atomic_file(path) as temporary:
        temporary.write_text("x")
    assert path.read_text() == "x" and len(names(tmp_path)) == 1


def test_the_folder_is_synced_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, real = [], module.sync
    monkeypatch.setattr(module, "sync", lambda path: (seen.append((path, (tmp_path / "a").exists())), real(path)))
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert seen == [(temporary, False), (tmp_path, True)]


def test_what_dead_processes_left_is_removed_and_what_live_ones_write_is_not(
    tmp_path: Path, ended_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, live, users = f".a.{DEAD.format(process=ended_process)}", f".a.{DEAD.format(process=1)}", ".a.part"
    elsewhere = ".a.another_1-00000000-1-abcd.part"
    before_a_restart = f".a.{temporary_files._host()}-00000000-1-abcd.part"
    same_number_before = f".b.{DEAD.format(process=os.getpid())}"  # as in a container that was started again
    for name in (dead, live, users, elsewhere, before_a_restart, same_number_before):
        (tmp_path / name).write_text("x")
    (tmp_path / f".c.{DEAD.format(process=ended_process)}").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / f".d.{DEAD.format(process=ended_process)}").symlink_to(tmp_path / "linked")
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == sorted(["a", live, users, elsewhere, "linked"])
    os.utime(tmp_path / elsewhere, (0, 0))
    temporary_files.remove_orphans(tmp_path)
    assert names(tmp_path) == sorted(["a", live, users, "linked"])


def test_a_folder_takes_its_place_when_it_is_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as new:
        make(new)
        assert names(tmp_path) != ["a"]
    assert names(tmp_path) == ["a"] and ours(tmp_path / "a")


def test_a_folder_that_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    with pytest.raises(MeshcastError, match="nothing that Meshcast wrote"), atomic_folder(tmp_path / "a", ours):
        pytest.fail("refused before the work")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ours").write_text("old")
    with pytest.raises(MeshcastError, match="nothing that Meshcast wrote"), atomic_folder(tmp_path / "b", ours) as new:
        make(new)
        (tmp_path / "b" / "ours").rename(tmp_path / "b" / "theirs")  # while we work
    assert names(tmp_path / "a") == ["thesis.tex"] and names(tmp_path / "b") == ["theirs"]


@pytest.mark.parametrize("exchange", [True, False], ids=["at once", "in two steps"])
def test_the_old_folder_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(module, "_exchange", lambda first, second: False)
    make(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a", ours) as new:
        make(new)
        raise KeyboardInterrupt
    assert (tmp_path / "a" / "ours").read_text() == "old"
    with atomic_folder(tmp_path / "a", ours) as new:
        make(new)
        assert (tmp_path / "a" / "ours").read_text() == "old"
    assert (tmp_path / "a" / "ours").read_text() == "new" and names(tmp_path) == ["a"]


def test_nothing_is_lost_where_a_process_dies_between_two_renames(tmp_path: Path) -> None:
    """On a file system that cannot exchange names: the old folder is found again at the next start."""
    make(tmp_path / ".a.replaced", "old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a", ours):
        assert (tmp_path / "a" / "ours").read_text() == "old"
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"]
    make(tmp_path / ".a.replaced", "older")  # died after the second
    with atomic_folder(tmp_path / "a", ours) as new:
        make(new)
    assert names(tmp_path) == ["a"] and (tmp_path / "a" / "ours").read_text() == "new"


def test_a_full_disk_is_told_though_hdf5_speaks_of_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"), system_errors(tmp_path / "a.nc", 100):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.nc")
    monkeypatch.undo()
    perhaps = pytest.raises(OSError, match="Permission denied, or the disk was full or failing")
    with perhaps, system_errors(tmp_path / "a.nc", 100):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a.nc")
    assert names(tmp_path) == []


def test_a_full_disk_is_told_though_a_library_closes_the_file_again(tmp_path: Path) -> None:
    """As shutil.rmtree does with a folder whose first close fails."""
    for write in (atomic_file, atomic_folder):
        with pytest.raises(MeshcastError, match=r"the disk is full \(No space left"), write(tmp_path / "a"):
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(10**6)
    assert names(tmp_path) == []


def test_a_link_in_a_circle_is_refused_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (atomic_file, atomic_folder):
        with pytest.raises(MeshcastError, match="link that leads nowhere"), write(tmp_path / "a"):
            pytest.fail("nothing to write to")
    with pytest.raises(MeshcastError, match="link that leads nowhere"):
        refuse_unwritable(tmp_path / "a" / "c")


def test_a_folder_for_temporary_files_that_cannot_be_used_is_not_taken_for_the_output(tmp_path: Path) -> None:
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    with pytest.raises(MeshcastError, match="Let TMPDIR name a folder"), atomic_file(tmp_path / "a"):
        raise error
