"""The report of a comparison: complete, self-contained, and true to its numbers."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.comparison.report import write_comparison
from inference.report import latex_tables
from tests.inference.comparisons import ring_comparison
from tests.time_limits import HUNG

LABELS = ("GNN", "UNet", "their_forecast_2024", "persistence")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    comparison, truth = ring_comparison(LABELS, seeds=2, leads=12, num_nodes=32)
    folder = tmp_path_factory.mktemp("report")
    write_comparison(comparison, folder, truth=truth, title="Ring <compared>")
    return folder


def test_the_page_stands_alone_and_keeps_every_row(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    assert "Ring &lt;compared&gt;" in text and "://" not in re.sub(r"data:image[^\"]*", "", text)
    ranking = text.split('<table class="scores ranking">')[1].split("</table>")[0]
    for label in (*LABELS, "plain RNN &amp; more_%"):
        assert label in ranking
    assert "diverged" in ranking and "out of memory" in ranking
    for heading in ("Ranking", "How rows differ", "Tuning", "Error by lead time", "Spectra", "Stability",
                    "What the forecasts keep", "Samples side by side", "Error against cost"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in text
    assert "outer level" in text and "Holm" in text and "bilinear from their grid" in text


def test_every_picture_is_also_a_vector_with_truetype_fonts(report: Path) -> None:
    pictures = sorted(path.stem for path in report.glob("*.png"))
    assert {"ranking", "nrmse", "relative", "spectra", "stability", "mean_drift", "samples", "cost"} <= set(pictures)
    for name in pictures:
        data = (report / f"{name}.pdf").read_bytes()
        assert data.startswith(b"%PDF") and b"/Type3" not in data and b"/FontFile2" in data, name


def test_the_table_of_rows_has_each_lead_once(report: Path) -> None:
    table = pd.read_parquet(report / "leads.parquet")
    assert not table.duplicated(["row", "metric", "variable", "lead"]).any()
    rmse = table[(table.metric == "rmse") & (table.row == "persistence")]
    assert (rmse.lower <= rmse.value).all() and (rmse.p_holm >= rmse.p).all() and len(rmse) == 12
    assert np.isnan(table[(table.metric == "rmse") & (table.row == "GNN")].ratio).all()


def test_the_latex_is_well_formed(report: Path, tmp_path: Path) -> None:
    """Compiled where there is a LaTeX; else cells are counted and braces and environments matched."""
    text = (report / "table.tex").read_text(encoding="utf-8")
    _check_structure(text)
    assert r"their\_forecast\_2024" in text and r"plain RNN \& more\_\%" in text
    compiler = next((name for name in ("tectonic", "pdflatex", "lualatex") if shutil.which(name)), None)
    if compiler is not None:
        (tmp_path / "all.tex").write_text(_whole_document(text), encoding="utf-8")
        batch = [] if compiler == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
        done = subprocess.run([compiler, *batch, "all.tex"], cwd=tmp_path, capture_output=True, timeout=HUNG)
        assert done.returncode == 0, done.stdout.decode()[-2000:]


def test_a_cell_that_is_not_escaped_is_found() -> None:
    table = latex_tables.booktabs(["a", "b"], [["50 % & more", "x_1 {y}"]], "Cost ~ $", "tab:x")
    _check_structure(table)
    for text, broken in ((r"\%", "%"), (r"\&", "&"), (r"\_", "_"), (r"\{", "{"), (r"\$", "$")):
        with pytest.raises(AssertionError):
            _check_structure(table.replace(text, broken))


def _whole_document(tables: str) -> str:
    return f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{tables}\\end{{document}}\n"


def _check_structure(text: str) -> None:
    """What LaTeX needs of booktabs tables: ASCII, matched braces and environments, as many cells as columns."""
    assert text.isascii()
    text = re.sub(r"(?<!\\)%.*\n", "\n", text)  # comments, and whatever an unescaped % swallows
    plain = re.sub(r"\\[{}$&%#_]", "", text)
    depth = np.cumsum([{"{": 1, "}": -1}.get(letter, 0) for letter in plain])
    assert depth.min() >= 0 and depth[-1] == 0
    open_ones: list[str] = []
    for command, name in re.findall(r"\\(begin|end)\{(\w+)\}", plain):
        if command == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    assert not re.search(r"[_^#]", re.sub(r"\$[^$]*\$", "", plain)) and plain.count("$") % 2 == 0
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.strip() and "rule" not in line]
        for row in rows:
            assert row.endswith(r"\\") and len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1, row
