"""Scores on the terminal."""

from __future__ import annotations

import numpy as np

from inference.report import sentence, table_leads
from inference.scorecard import METRICS, Verification
from meshcast.console import counted, print_table, say


def print_scores(verification: Verification, metric: str = "rmse") -> None:
    """A table of one metric by lead time, a row an emulator, a table a variable."""
    emulators = [emulator for emulator in verification.emulators if metric in emulator.metrics]
    scored = np.isfinite(emulators[0].mean(metric)).any(axis=1)  # leads beyond the truth have no score
    leads = table_leads(emulators[0].lead_steps[scored], verification.time_step)
    axis, label = verification.time_step.lead_axis(leads)
    for column, (variable, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        about = METRICS[metric]
        units = f" [{unit}]" if about.dimensional and unit != "1" else ""
        rows = []
        for emulator in emulators:
            mean = dict(zip(emulator.lead_steps.tolist(), emulator.mean(metric)[:, column].tolist(), strict=True))
            rows.append([emulator.label, *(f"{mean[lead]:.3g}" if lead in mean else "" for lead in leads.tolist())])
        name = f"{sentence(about.title)} of {variable}{units}"
        title = f"{name}, {counted(emulators[0].num_cases, 'case')}, by {label}"
        print_table(title, ["emulator", *(f"{time:g}" for time in axis)], rows)
    for reason in verification.left_out:
        say(reason)
