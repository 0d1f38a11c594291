"""GRIB whose headers ask a decoder for more than the file holds is refused before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emulator.data.files import read_files
from graphs.errors import MeshcastError

HUGE = (60_000, 32_000)


def message(packing: str = "grid_simple") -> bytearray:
    """Return one GRIB 2 message of 64 x 32 points."""
    import eccodes  # after pyproj, which `emulator.data` imports

    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    for key, value in {"Ni": 64, "Nj": 32, "bitsPerValue": 12}.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, np.random.default_rng(0).random(2048))
    eccodes.codes_set(handle, "packingType", packing)
    return bytearray(eccodes.codes_get_message(handle))


def sections(content: bytearray) -> dict[int, int]:
    """Return where each section begins (WMO FM 92: four bytes of length, one of number)."""
    found, at = {}, 16
    while content[at : at + 4] != b"7777":
        found[content[at + 4]] = at
        at += int.from_bytes(content[at : at + 4], "big")
    return found


def put(content: bytearray, at: int, *numbers: int) -> None:
    for number in numbers:
        content[at : at + 4] = number.to_bytes(4, "big")
        at += 4


def refused(folder: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> str:
    (folder / "hostile.grib").write_bytes(content)
    with pytest.raises(MeshcastError) as error:
        read_files(folder / "hostile.grib")
    assert capfd.readouterr() == ("", "")  # neither eccodes nor the libraries beneath it say anything of their own
    return str(error.value)


def test_a_grid_that_its_message_cannot_hold_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = message()
    at = sections(content)
    put(content, at[3] + 6, HUGE[0] * HUGE[1])
    put(content, at[3] + 30, *HUGE)
    put(content, at[5] + 5, HUGE[0] * HUGE[1])
    assert "message 1 declares 1,920,000,000 values in" in refused(tmp_path, content, capfd)


@pytest.mark.parametrize(
    ("packing", "sizes"), [("grid_jpeg", (8, 24)), ("grid_png", (16,))]
)  # the picture's, and its tile's
def test_a_picture_larger_than_its_grid_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], packing: str, sizes: tuple[int, ...]
) -> None:
    content = message(packing)
    (tmp_path / "whole.grib").write_bytes(content)
    assert read_files(tmp_path / "whole.grib").sizes["cell"] == 2048
    for at in sizes:
        put(content, sections(content)[7] + 5 + at, *HUGE)
    assert "packs 2,048 values as a picture of 1,920,000,000 points" in refused(tmp_path, content, capfd)


def test_damage_is_reported_in_our_words_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = message("grid_png")
    content[-504:-4] = bytes(500)
    assert "is damaged" in refused(tmp_path, content, capfd)
    content = message()
    content[sections(content)[1] + 14] = 77  # the month
    assert "is damaged" in refused(tmp_path, content, capfd)


def test_more_values_than_points_of_the_grid_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = message("grid_ccsds")
    put(content, sections(content)[5] + 5, 2040)  # values that are packed; the grid has 2,048 points
    assert "its grid has 2,048 points, but it holds 2,040 values" in refused(tmp_path, content, capfd)


def test_a_message_that_says_it_has_no_length_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    second = message()
    second[8:16] = bytes(8)  # the four bytes before it, which then would be its last, are the first one's 7777
    assert "message 2 begins at byte" in refused(tmp_path, message() + second, capfd)
