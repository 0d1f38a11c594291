"""The record of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference.comparison.story import ComparisonStory
from inference.scores.scorecard import Verification
from training.comparison.forecast_files import Starts
from training.comparison.ranking import Line, Row


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    rows: a line a seed, best first, those without a score last; lines: a line a label, in the same way.
    reference: label of the seed, and story.reference of the row, that differences are taken to.
    starts: from which all rows forecast.
    """

    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    reference: str
    verification: Verification
    story: ComparisonStory
    starts: Starts
    folder: Path
