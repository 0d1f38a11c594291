"""What the terminal shows: whole words, whatever its width."""

import pytest

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
