"""What an emulator costs beside the cheapest solver of equal error, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from graphs.atomic_file import write_text

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def break_even(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import break_even

    return break_even


SOLVERS = {(1.0, 0.4), (4.0, 0.1), (3.0, 0.5), (16.0, 0.0)}  # the third is surpassed by the first


def test_the_cheapest_solver_lies_between_neighbours_in_the_logarithm_of_both(break_even: ModuleType) -> None:
    assert break_even.cheapest(0.4, SOLVERS) == (1.0, "")
    seconds, bound = break_even.cheapest(0.2, SOLVERS)
    assert seconds == pytest.approx(2.0) and bound == ""
    assert break_even.cheapest(0.1, SOLVERS) == (pytest.approx(4.0), "")


def test_beyond_the_solvers_a_cost_is_a_bound_and_says_so(break_even: ModuleType) -> None:
    assert break_even.cheapest(0.9, SOLVERS) == (1.0, "at most")
    assert break_even.cheapest(0.05, SOLVERS) == (16.0, "at most")  # the truth itself has no error
    assert break_even.cheapest(0.05, SOLVERS - {(16.0, 0.0)}) == (4.0, "at least")


def test_a_run_pays_after_what_it_costs_once_over_what_a_day_saves(break_even: ModuleType) -> None:
    solvers = [break_even.Row("T", "solver", {"5": error}, cost, cost, cost) for cost, error in SOLVERS]
    once = {"data": 20.0, "tuning": 30.0, "training": 100.0}
    (payment,) = break_even.payments(break_even.Row("GNN", "emulator", {"5": 0.2}, 0.5, 0.5, 0.5, once), solvers)
    assert payment.solver_seconds == pytest.approx(2.0) and payment.times_cheaper == pytest.approx(4.0)
    assert payment.days == pytest.approx(100.0)
    (never,) = break_even.payments(break_even.Row("GNN", "emulator", {"5": 0.2}, 2.5, 2.5, 2.5, once), solvers)
    assert never.days is None and never.times_cheaper < 1.0


def test_a_picture_is_drawn_of_every_lead(break_even: ModuleType, tmp_path: Path) -> None:
    solvers = [
        {"label": f"T{size}", "family": "solver", "errors": {"1": 1.0 / size, "5": 2.0 / size}, "seconds": size * 1e-4}
        for size in (10, 20, 40)
    ]
    pays = [{"lead": lead, "solver_seconds": 3e-3, "days": days} for lead, days in (("1", 1e5), ("5", None))]
    emulator = {"label": "GNN, seed 0", "family": "emulator", "errors": {"1": 0.04, "5": 0.08}, "seconds": 1e-3,
                "once": {"training": 600.0}, "about": {"precision": "float32"}, "pays": pays}  # fmt: skip
    break_even.draw({"unit": "day", "rows": [*solvers, emulator]}, tmp_path / "pays.png")
    assert (tmp_path / "pays.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_are_told_apart_by_step_and_by_whether_they_correct_a_solver(
    break_even: ModuleType, tmp_path: Path
) -> None:
    runs = (("12h", "persistence"), ("24h", "persistence"), ("24h", "solver"))
    for number, (step, guess) in enumerate(runs):
        config = {"task": {"time_step": step}, "emulator": {"first_guess": {"kind": guess}}}
        result = {"label": "network", "seed": 0, "status": "done", "update": 7, "config": config}
        write_text(tmp_path / f"{number}.json", json.dumps(result))

    class Named(break_even.RingRivals):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            break_even.Rivals.__init__(self, [1], sorted(tmp_path.glob("*.json")))

    assert Named().labels == ["network of 12h, seed 0", "network of 24h, seed 0", "hybrid, seed 0"]
