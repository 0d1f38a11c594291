"""A reader that goes away, as `head` does, ends a command without a word; a full disk behind `>` is told."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

import pytest

from meshcast import console
from meshcast.main import run


def outcome(descriptor: int, *arguments: str) -> tuple[object, str]:
    """The exit code of a command whose standard output is a descriptor, and its standard error."""
    err = io.StringIO()
    with (
        os.fdopen(descriptor, "w") as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["meshcast", *arguments]),
    ):
        try:
            run()
        except SystemExit as stop:
            return stop.code, err.getvalue()
        finally:
            console.out.quiet = False  # which rich sets where its reader has gone
    return 0, err.getvalue()


@pytest.mark.parametrize("command", [("configs", "list"), ("--help",), ("graph", "GRID"), ("graph", "GRID", "--json")])
def test_a_reader_that_goes_away_ends_a_command_quietly(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "grid.yaml").write_text("grid: {kind: latlon, spacing: 30.0}\n")
    reader, writer = os.pipe()
    os.close(reader)
    code, said = outcome(writer, *(text.replace("GRID", str(tmp_path / "grid.yaml")) for text in command))
    assert code == 141 and "Error" not in said and "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_standard_output_is_told() -> None:
    code, said = outcome(os.open("/dev/full", os.O_WRONLY), "configs", "list")
    assert code == 2 and "No space left on device" in said
