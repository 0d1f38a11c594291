"""Tables of scores: what stands in each cell, and which lead times are shown."""

import numpy as np
import pytest

from emulator.foundation.time_step import TimeStep
from inference.report.score_tables import lead_tables, number, sentence, summary_table, table_leads
from inference.scores.verification import verify
from tests.inference.synthetic import ring_forecast, ring_truth, sphere_forecast, sphere_truth


def test_a_lead_time_that_is_not_forecast_shows_nothing_and_the_smallest_error_is_bold() -> None:
    truth = ring_truth(num_nodes=32, trajectories=4, times=7)
    stopped = ring_forecast(truth, "slow", lag=0.3, leads=4)
    stopped.values[1, :, 2:] = np.nan
    found = verify([ring_forecast(truth, leads=6), stopped], truth, baselines=["slow"], num_resamples=100)
    (table,) = (table for table in lead_tables(found) if table.title == "RMSE of u")
    rows = {name: cells for name, *cells in table.rows}
    assert rows["slow"][2:] == ["1 stopped", "1 stopped", "–", "–"]
    assert all(cell.startswith("<b>") for cell in rows["GNN"])
    mean, (lower, upper) = found["GNN"].mean("rmse")[0, 0], found.interval("GNN", "rmse")
    bounds = f"{number(lower[0, 0])} to {number(upper[0, 0])}"
    assert rows["GNN"][0] == f"<b>{number(mean)}<br><small>{bounds}</small></b>"


def test_the_summary_counts_cases_and_stable_steps() -> None:
    truth = ring_truth(num_nodes=32, trajectories=4, times=7)
    stopped = ring_forecast(truth, lag=0.0, leads=6)
    stopped.values[:3, :, 2:] = np.nan
    table = summary_table(verify([stopped, ring_forecast(truth, "whole", lag=0.0, leads=6)], truth, num_resamples=50))
    assert [row[:4] for row in table.rows] == [["GNN", "4", "3", "2"], ["whole", "4", "0", "≥ 6"]]


def test_the_summary_has_a_row_an_emulator_and_columns_by_variable() -> None:
    truth = sphere_truth()
    found = verify([sphere_forecast(truth), sphere_forecast(truth, "persistence", lag=9)], truth, num_resamples=50)
    table = summary_table(found)
    assert table.head == ["emulator", "cases", "stopped", *(f"stable steps of {name}, median" for name in "huv")]
    steps = np.median(found["persistence"].stable_steps, axis=0)
    assert table.rows[1] == ["persistence", "3", "0", *(f"{value:g}" for value in steps)] and len(table.rows) == 2


@pytest.mark.parametrize(
    ("time_step", "steps", "shown"),
    [
        (TimeStep.parse("1h"), 48, [1, 2, 3, 6, 12, 24, 48]),
        (TimeStep.parse("6h"), 40, [1, 2, 4, 8, 12, 16, 20, 28, 40]),
        (TimeStep.parse("1 month"), 24, [1, 2, 3, 6, 12, 24]),
        (TimeStep(1, "second", 0.1, ""), 100, [1, 2, 5, 10, 20, 50, 100]),
        (TimeStep.parse("1 day"), 5, [1, 2, 3, 4, 5]),
    ],
)
def test_round_lead_times_are_shown_and_the_last(time_step: TimeStep, steps: int, shown: list[int]) -> None:
    assert table_leads(np.arange(1, steps + 1), time_step).tolist() == shown


def test_numbers_are_short_and_titles_begin_with_a_capital() -> None:
    assert [number(x) for x in (0.0, 1.2345, 12345.0, 0.00012, np.nan)] == ["0", "1.23", "1.23e+04", "1.20e-04", "–"]
    assert sentence("bias of u") == "Bias of u" and sentence("nRMSE") == "nRMSE"
