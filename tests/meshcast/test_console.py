"""What the terminal shows: whole words, whatever its width."""

import logging

import pytest

from graphs.errors import MeshcastError, on_one_line, printable
from meshcast import console

COLUMNS = ["emulator", "6 hours", "12 hours", "significance", "lead time", "training seconds"]
ROWS = [
    ["graph-network-of-three-levels", "0.0123", "2 stopped", "significantly", "lower", "12345.6"],
    ["anomaly persistence", "0.5", "0.25", "indistinguishable", "higher", "–"],
]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_word_is_broken_and_no_cell_is_lost(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "out", console.Console(highlight=False, soft_wrap=True, width=width))
    console.print_table("RMSE [K]", COLUMNS, ROWS)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    words = set(shown.replace("│", " ").replace("┃", " ").split())
    assert {word for text in (*COLUMNS, *ROWS[0], *ROWS[1]) for word in text.split()} <= words
    assert shown.count("RMSE [K]") == 1
    assert (shown.count("graph-network-of-three-levels") == 1) == (width == 200)


HOSTILE = "t\x1b[2J\x1b]0;owned\x07\r\u202egpj.exe\u2066\x9b31m\u2028\udc80\x00"


def test_control_characters_of_names_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(HOSTILE, 1):
        console.say(HOSTILE)
        console.show(HOSTILE)
        console.print_table(HOSTILE, ["emulator", HOSTILE], [[HOSTILE, "1"]])
        console.print_json({HOSTILE: HOSTILE})
    shown = "".join(capsys.readouterr())
    assert all(character == "\n" or (character.isprintable() and character != "\u202e") for character in shown)
    assert r"t\x1b[2J" in shown and r"\u202egpj.exe" in shown and r"\udc80" in shown


def test_what_people_write_stays_as_it_is() -> None:
    assert printable("Ozonsäule [µg m⁻³]\n\tzonal, 日平均") == "Ozonsäule [µg m⁻³]\n\tzonal, 日平均"
    assert on_one_line("u\nError: all is well") == r"u\nError: all is well"


def test_a_name_with_a_new_line_is_no_message_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("Error: there is no variable u\nWrote forecast.nc.\n- a fault")
    assert capsys.readouterr().err.splitlines()[1:] == ["  Wrote forecast.nc.", "  - a fault"]


def test_a_message_is_safe_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("meshcast").warning("%s", MeshcastError(HOSTILE))
    assert "\x1b" not in caplog.text and r"\x1b" in caplog.text


def test_progress_is_a_line_now_and_then_where_no_terminal_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    with console.progress("scoring fields", 3) as done:
        for count in (1, 2, 3):
            done(count)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["scoring fields: 1 of 3", "scoring fields: 2 of 3"]
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 60.0)
    with console.progress("scoring fields", 3) as done:
        done(1)
    assert not capsys.readouterr().err, "short work says nothing"
