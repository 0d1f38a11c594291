"""The report's first sentence says what the scores say: how much better, than which baseline, and how sure."""

from dataclasses import replace

import numpy as np
import pytest

from inference.report.answer import answer, better_leads, error_ratio, hardest_baseline
from inference.scores.verification import verify
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth

TRUTH = ring_truth(num_nodes=32, trajectories=6, times=11)


def with_errors(name: str, factor: float) -> object:
    """A forecast whose error is so many times that of a lag of a tenth of a node a step."""
    lagged = ring_forecast(TRUTH, name, lag=0.1, leads=10)
    exact = ring_forecast(TRUTH, name, lag=0.0, leads=10)
    return replace(lagged, values=exact.values + factor * (lagged.values - exact.values))


def test_the_answer_names_the_hardest_baseline_and_by_how_much_it_is_beaten() -> None:
    forecasts = [with_errors("GNN", 0.5), with_errors("near", 0.8), with_errors("far", 2.0)]
    found = verify(forecasts, TRUTH, baselines=["near", "far"], num_resamples=200)  # type: ignore[arg-type]
    assert hardest_baseline(found) == "near"
    ratio, lower, upper = error_ratio(found, "GNN", "near")
    assert ratio == pytest.approx(0.5 / 0.8, rel=1e-3) and lower <= ratio <= upper
    said = answer(found).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("GNN forecasts u up to lead time 1 from 6 starts, with an RMSE 38 % below that of near, ")
    assert "the best of 2 baselines (95 % interval" in said and "chance" not in said
    head, ((label, cell),) = better_leads(found)
    assert head[1:] == ["u"] and str(label) == "GNN" and cell.startswith("10 of 10")


def test_a_difference_that_may_be_chance_is_called_that() -> None:
    truth = isles_truth(days=4, rows=9, columns=11)
    forecasts = [isles_forecast(truth, "GNN", 0.2, seed=1), isles_forecast(truth, "baseline", 0.2, seed=2)]
    found = verify(forecasts, truth, baselines=["baseline"], num_resamples=200)
    _, lower, upper = error_ratio(found, "GNN", "baseline")
    assert lower < 1 < upper and "may be chance" in answer(found) and "the only baseline" in answer(found)


def test_without_a_baseline_the_error_itself_is_said() -> None:
    truth = isles_truth(days=2, rows=9, columns=11)
    found = verify([isles_forecast(truth, "graph network")], truth, num_resamples=200)
    said, (lower, _) = answer(found), found.interval("graph network", "rmse")
    assert said.startswith("Graph network forecasts 2t up to 12 hours ahead")
    assert f"{found['graph network'].mean('rmse')[-1, 0]:.3g} K" in said
    assert hardest_baseline(found) is None and np.isfinite(lower).any() == (" to " in said.split("RMSE")[1])
