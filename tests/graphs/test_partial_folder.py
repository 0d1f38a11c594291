"""A folder made part by part: what is done is found again, what is damaged or of other inputs is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from graphs.partial_folder import INPUTS, checksum, partial_folder


class KilledError(BaseException):
    """Stands for what ends a process in the middle."""


def broken_off(output: Path, inputs: str | None = "a", **files: str) -> list[str]:
    """Finish a part of each file, then break off; return what was said."""
    said: list[str] = []
    with pytest.raises(KilledError), partial_folder(output, inputs, notice=said.append) as partial:
        partial.output.mkdir(exist_ok=True)
        for name, text in files.items():
            (partial.output / name).write_text(text)
            partial.finish(name, {"text": text}, {f"{output.name}/{name}": checksum(partial.output / name)})
        raise KilledError
    return said


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_parts_that_are_done_are_found_again_and_the_whole_takes_its_name(tmp_path: Path) -> None:
    output, said = tmp_path / "whole", []
    broken_off(output, one="1", two="2")
    assert listing(tmp_path) == ["whole.parts"]
    with partial_folder(output, "a", notice=said.append) as partial:
        assert partial.found("one") == {"text": "1"} and partial.found("two") == {"text": "2"}
        assert partial.found("three") is None
    assert "Going on with the parts" in said[0]
    assert listing(tmp_path) == ["whole"] and listing(output) == ["one", "two"]


def test_a_part_whose_file_or_record_is_damaged_is_not_done(tmp_path: Path) -> None:
    output = tmp_path / "whole"
    broken_off(output, one="1", two="2", three="3", four="4")
    parts = tmp_path / "whole.parts"
    (parts / "whole" / "one").write_text("x")
    (parts / "whole" / "two").unlink()
    record = json.loads((parts / "three.done").read_text())
    (parts / "three.done").write_text(json.dumps({**record, "content": record["content"].replace("3", "5", 1)}))
    with partial_folder(output, "a") as partial:
        assert [name for name in ("one", "two", "three", "four") if partial.found(name)] == ["four"]


def test_other_inputs_or_another_version_start_anew_and_it_is_said(tmp_path: Path) -> None:
    output, said = tmp_path / "whole", []
    broken_off(output, one="1")
    with partial_folder(output, "b", notice=said.append) as partial:
        assert partial.found("one") is None and not partial.output.exists()
        partial.output.mkdir()
    assert "made of another input" in said[0] and listing(tmp_path) == ["whole"]
    broken_off(tmp_path / "next", one="1")
    about = tmp_path / "next.parts" / INPUTS
    about.write_text(json.dumps({**json.loads(about.read_text()), "versions": {"numpy": "0.1"}}))
    with partial_folder(tmp_path / "next", "a", notice=said.append) as partial:
        assert partial.found("one") is None
        partial.output.mkdir()
    assert "version" in said[1]


def test_what_is_made_at_one_go_or_has_no_part_leaves_nothing(tmp_path: Path) -> None:
    broken_off(tmp_path / "whole", inputs=None, one="1")
    broken_off(tmp_path / "whole")
    assert listing(tmp_path) == []


def test_a_full_disk_says_where_the_parts_stay(tmp_path: Path) -> None:
    with (
        pytest.raises(MeshcastError, match=r"disk is full.*parts that are done stay in .*whole\.parts"),
        partial_folder(tmp_path / "whole", "a") as partial,
    ):
        partial.finish("one", {})
        raise OSError(28, "No space left on device")
    assert listing(tmp_path) == ["whole.parts"]


def test_a_folder_of_that_name_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "whole.parts").mkdir()
    (tmp_path / "whole.parts" / "thesis.tex").write_text("years of work")
    with pytest.raises(MeshcastError, match="nothing that Meshcast wrote"), partial_folder(tmp_path / "whole", "a"):
        pass
    with partial_folder(tmp_path / "whole") as partial:
        partial.output.mkdir()
    assert listing(tmp_path) == ["whole", "whole.parts"] and listing(tmp_path / "whole.parts") == ["thesis.tex"]
