"""Scores on the terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.report.score_tables import sentence, table_leads
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification
from meshcast.console import counted, print_table, say


def print_scores(verification: Verification, metric: str = "rmse") -> None:
    """A table of one metric by lead time, a row an emulator, a table a variable."""
    emulators = [emulator for emulator in verification.emulators if metric in emulator.metrics]
    leads = table_leads(_with_truth(emulators[0], metric), verification.time_step)
    axis, label = verification.time_step.lead_axis(leads)
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        rows = []
        for emulator in emulators:
            cells = _cells(emulator, metric, column)
            rows.append([emulator.label, *(cells.get(lead, "") for lead in leads.tolist())])
        name = sentence(METRICS[metric].with_unit(unit, variable))
        title = f"{name}, {counted(emulators[0].num_cases, 'case')}, by {label}"
        print_table(title, ["emulator", *(f"{time:g}" for time in axis)], rows)
    for reason in verification.left_out:
        say(reason)


def _with_truth(emulator: ForecastScores, metric: str) -> NDArray[np.int64]:
    """Return lead steps at which a case was scored, or would have been, had it not been stopped."""
    there = np.isfinite(emulator.mean(metric)) | (emulator.failed > 0)  # [lead, variable]
    return emulator.lead_steps[there.any(axis=1)]


def _cells(emulator: ForecastScores, metric: str, column: int) -> dict[int, str]:
    """Return what a table shows of one variable at each lead step: the score, or how many cases the guard had
    stopped."""
    means, failed = emulator.mean(metric)[:, column], emulator.failed[:, column]
    texts = [f"{stopped} stopped" if stopped else f"{mean:.3g}" for mean, stopped in zip(means, failed, strict=True)]
    return dict(zip(emulator.lead_steps.tolist(), texts, strict=True))
