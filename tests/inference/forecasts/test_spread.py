"""Members that collapse onto each other are said while they are forecast, and in the verification."""

from dataclasses import replace

import numpy as np

from inference.forecasts.spread import SpreadWatch
from inference.report.answer import answer
from inference.report.page import Notes, page
from inference.scores.spread import collapsed
from inference.scores.tables import to_json
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth


def test_a_spread_that_falls_to_nothing_is_said_once_a_variable() -> None:
    random = np.random.default_rng(0)
    initial = random.normal(size=(2, 5, 8, 2)).astype(np.float32)
    watch, mean = SpreadWatch(initial, ("t", "q")), initial.mean(axis=1, keepdims=True)
    kept = [mean + (initial - mean) * np.float32([share, 1.0]) for share in (0.5, 0.011, 0.009, 0.001)]
    said = [list(watch.look(values, step)) for step, values in enumerate(kept, 1)]
    assert [len(lines) for lines in said] == [0, 0, 1, 0]
    assert said[2][0].startswith("the 5 members have collapsed onto each other in t by step 3: their spread is 0.00")


def test_stopped_members_and_masked_nodes_are_no_collapse() -> None:
    initial = np.random.default_rng(0).normal(size=(2, 3, 8, 1)).astype(np.float32)
    initial[:, :, 0] = np.nan
    values = initial.copy()
    values[:, 1:] = np.nan
    watch = SpreadWatch(initial, ("t",))
    assert not list(watch.look(values, 1)) and not list(watch.look(initial, 2))
    assert not list(SpreadWatch(initial[:, :1], ("t",)).look(initial[:, :1], 1)), "one member has no spread"


def test_a_report_says_that_members_have_collapsed() -> None:
    truth = ring_truth(trajectories=3)
    forecast = ring_forecast(truth, lag=0.5, leads=10, members=3)
    assert not collapsed(verify([forecast], truth, num_resamples=20))
    values = forecast.values.copy()
    values[:, :, 4:] = values[:, :1, 4:] + 1e-4 * values[:, :, 4:]
    found = verify([replace(forecast, values=values)], truth, num_resamples=20)
    (sentence,) = collapsed(found)
    assert "The 3 members of GNN have collapsed onto each other" in sentence
    assert "in u at 6 of 10 lead times, the first of them 0.5." in sentence
    assert sentence in page(found, Notes(), []) and to_json(found)["collapsed"] == [sentence]
    assert sentence not in answer(found)
