"""The report of a comparison: verification's report, with a line for each row and its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emulator.data.fields import Fields
from emulator.data.forecast import Forecast
from inference.comparison import ComparisonStory
from inference.page import Story
from inference.report import write_report
from inference.scorecard import Verification


def write_comparison(
    verification: Verification,
    comparison: ComparisonStory,
    output: Path,
    *,
    forecasts: Sequence[Forecast] = (),
    truth: Fields | None = None,
    story: Story | None = None,
) -> Path:
    """Write the report of a comparison into `output`, with all that `write_report` writes.

    comparison: its rows, costs and trials.
    story: title, summary and facts, as for any report.
    """
    return write_report(verification, output, forecasts=forecasts, truth=truth, story=story)
