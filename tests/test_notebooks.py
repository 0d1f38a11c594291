"""The notebooks run from top to bottom, tell a story with what the packages offer, and define no science."""

from __future__ import annotations

import ast
import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.display import Image
from matplotlib.figure import Figure
from nbclient import NotebookClient

from tests.test_layers import LAYERS
from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONG = {"03_architectures", "model_evaluation"}  # a minute of one core
SHORT = [path for path in NOTEBOOKS if path.stem not in LONG]
OURS = {*LAYERS, "numpy", "IPython"} | set(sys.stdlib_module_names)
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.MatMult, ast.Mod)
FROM_NUMPY = {"arange"}


def code_of(notebook: nbformat.NotebookNode) -> str:
    """The code cells as one text, without magics."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))


def science_in(code: str) -> list[str]:
    """What belongs in a package: definitions, arithmetic between computed values, numpy beyond an axis."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            found.append(f"line {node.lineno} defines {getattr(node, 'name', 'a lambda')}")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
            if not isinstance(node.left, ast.Constant) and not isinstance(node.right, ast.Constant):
                found.append(f"line {node.lineno} computes {ast.unparse(node)}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np" and node.attr not in FROM_NUMPY:
            found.append(f"line {node.lineno} calls np.{node.attr}")
    return found


def imported(code: str) -> set[str]:
    """Top-level packages."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def run_shortened(path: Path) -> str:
    """Run a notebook in this process with a fifth of its updates and few harmonics; return everything it printed."""
    names: dict[str, Any] = {}
    printed, pictures = io.StringIO(), 0
    with redirect_stdout(printed):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                code = re.sub(r"(?<=updates=)\d+", lambda updates: str(int(updates[0]) // 5), cell.source)
                code = re.sub(r"(?<=equation\.truncation=)\d+", "6", code)
                shown = run_cell(code.removeprefix("%matplotlib inline"), names)
                if isinstance(shown, Figure):
                    shown.savefig(io.BytesIO())
                pictures += isinstance(shown, Figure | Image)
    assert pictures, "no picture was shown"
    return printed.getvalue()


def run_cell(code: str, names: dict[str, Any]) -> Any:
    """Execute a cell, and return the value of the expression it ends with."""
    *statements, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        statements, last = [*statements, last], ast.Expr(ast.Constant(None))
    exec(compile(ast.Module(statements, []), "cell", "exec"), names)
    return eval(compile(ast.fix_missing_locations(ast.Expression(last.value)), "cell", "eval"), names)


def run(path: Path, folder: Path) -> str:
    """Run a notebook as it stands in a folder, in a kernel of its own; return everything it printed."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=HUNG, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture was shown"
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_no_science(path: Path) -> None:
    code = code_of(nbformat.read(path, as_version=4))
    assert science_in(code) == []
    assert imported(code) <= OURS


def test_planted_science_is_found() -> None:
    planted = "def rmse(x): ...\nerror = (ours - truth) ** 2\nmean = np.sqrt(error)\nhalf = error / 2\nf = lambda x: x"
    assert [fault.split()[1] for fault in sorted(science_in(planted))] == ["1", "2", "3", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_a_notebook_runs_shortened_without_any_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHCAST_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    printed = run_shortened(path)
    assert "ring of" in printed or "global mesh of" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_stands_without_any_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHCAST_DATA", raising=False)
    printed = run(path, tmp_path)
    assert "ring of" in printed or "global mesh of" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_exploration_runs_on_era5(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHCAST_DATA", str(data_folder.resolve()))
    assert "2t [K] on a limited area of 33 x 49 nodes" in run(
        ROOT / "notebooks/exploratory_data_analysis.ipynb", tmp_path
    )
