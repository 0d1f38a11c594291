"""Equivalent truncation: by hand, at its open ends, and in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.baselines.coarse_solver import TRUNCATION_ATTRIBUTE, CoarseSolverConfig, solver_attributes
from emulator.baselines.persistence import PersistenceConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from inference.report.report import write_report
from inference.scores.equivalent_truncation import equivalent, equivalents, relative_error, solver_truncations
from inference.scores.scorecard import Verification
from inference.scores.tables import to_json
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth

SOLVERS = {10: 0.8, 20: 0.2, 30: 0.1}


def test_the_logarithm_of_the_error_is_linear_between_truncations() -> None:
    assert equivalent(0.4, SOLVERS).truncation == pytest.approx(15.0)
    assert equivalent(0.2 / 2**0.3, SOLVERS).truncation == pytest.approx(23.0)
    assert str(equivalent(0.4, SOLVERS)) == "T15.0"
    for truncation, error in SOLVERS.items():
        found = equivalent(error, SOLVERS)
        assert found.truncation == pytest.approx(truncation) and not found.bound


def test_the_ends_are_open() -> None:
    assert str(equivalent(0.9, SOLVERS)) == "below T10"
    assert str(equivalent(0.05, SOLVERS)) == "above T30"
    assert str(equivalent(np.nan, SOLVERS)) == str(equivalent(0.1, {10: np.nan})) == "–"
    assert str(equivalent(0.05, {**SOLVERS, 40: np.nan})) == "above T30", "a solver that failed is no measure"
    assert equivalent(0.0, {10: 0.5, 20: 0.0}).truncation == 20


def test_of_errors_that_do_not_fall_throughout_the_finest_pair_counts() -> None:
    assert equivalent(0.3, {10: 0.4, 20: 0.2, 30: 0.4, 40: 0.1}).truncation > 30


def test_a_solver_says_its_truncation_and_others_none() -> None:
    config = CoarseSolverConfig(equation=ShallowWaterConfig(truncation=12))
    assert solver_attributes(config) == {TRUNCATION_ATTRIBUTE: "12"}
    assert solver_attributes(PersistenceConfig()) == {}


def verified(lags: dict[str, float], truncations: dict[str, int]) -> tuple[Verification, list[str]]:
    truth, forecasts = ring_truth(), []
    for label, lag in lags.items():
        forecast = ring_forecast(truth, label, lag)
        attributes = {TRUNCATION_ATTRIBUTE: str(truncations[label])} if label in truncations else {}
        forecasts.append(replace(forecast, attributes=attributes))
    return verify(forecasts, truth), list(lags)


@pytest.mark.parametrize("text", ["x", "1.5", "-3", "²", "9" * 5000])
def test_a_truncation_that_is_no_number_makes_no_solver(text: str) -> None:
    truth = ring_truth()
    other = replace(ring_forecast(truth, "T", 0.1), attributes={TRUNCATION_ATTRIBUTE: text})
    assert solver_truncations(verify([other], truth)) == {}


def test_an_emulator_between_two_solvers_is_worth_one_between_them(tmp_path: Path) -> None:
    """Errors grow with the lag, at first in proportion: the geometric mean of two lags is half way."""
    lags = {"GNN": 0.02, "T10": 0.04, "T20": 0.01, "worse": 0.2, "better": 0.001}
    verification, _ = verified(lags, {"T10": 10, "T20": 20})
    found = equivalents(verification)
    assert set(found) == {"GNN", "worse", "better"}
    assert found["GNN"][1].truncation == pytest.approx(15.0, abs=0.1)
    assert str(found["worse"][1]) == "below T10" and str(found["better"][1]) == "above T20"
    error = relative_error(verification, verification["GNN"])
    np.testing.assert_allclose(error, verification["GNN"].mean("rmse")[:, 0] / verification.scale[0])
    page = write_report(verification, tmp_path).read_text()
    assert "Equivalent truncation" in page and str(found["GNN"][1]) in page and "below T10" in page
    assert to_json(verification)["equivalent_truncation"]["worse"]["1"] == "below T10"


def test_with_one_solver_there_is_no_scale(tmp_path: Path) -> None:
    verification, _ = verified({"GNN": 0.02, "T10": 0.04}, {"T10": 10})
    assert equivalents(verification) == {}
    assert "Equivalent truncation" not in write_report(verification, tmp_path).read_text()
