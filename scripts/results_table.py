"""Prints a comparison's ranking and its trials as Markdown, for docs/results.md and docs/experiments.md.

python scripts/results_table.py results/compare-ring/comparison.json [--trials | --short]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import median
from typing import Any

SHORT = (0, 1, 2, 4, 5, 7)  # columns of the ranking


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("comparison", type=Path, help="comparison.json of a finished comparison")
    parser.add_argument("--trials", action="store_true", help="the trials of the tuning in place of the ranking")
    parser.add_argument("--short", action="store_true", help="scores, ratios and updates alone")
    options = parser.parse_args()
    found = json.loads(options.comparison.read_text(encoding="utf-8"))
    lines = trials(found) if options.trials else ranking(found)
    print("\n".join(shortened(lines, SHORT) if options.short else lines))


def shortened(lines: list[str], kept: tuple[int, ...]) -> list[str]:
    """Return some columns of a table."""
    cells = [line.strip("|").split("|") for line in lines]
    return ["|" + "|".join(row[column] for column in kept) + "|" for row in cells]


def ranking(found: dict[str, Any]) -> list[str]:
    """Return a line a row: its score with the interval over starts and seeds, the seeds' range, size and cost."""
    scores = {row["label"]: row["score"] for row in found["rows"]}
    reference = next(label for label, about in found["about"].items() if found["reference"] in about["members"])
    lines = [
        f"| | emulator | score [95 %] | seeds: median (lowest to highest) | over {reference} [95 %] | p | weights | "
        "updates | chosen by trials | fit [s] | step and case [ms] |",
        "|" + "---|" * 11,
    ]
    for place, line in enumerate(found["lines"], 1):
        about = found["about"][line["label"]]
        seconds = about["training_seconds"]
        seeds = sorted(math.inf if scores[member] is None else scores[member] for member in about["members"])
        spread = f"{_number(median(seeds))} ({_number(seeds[0])} to {_number(seeds[-1])})" if len(seeds) > 1 else "-"
        cells = [
            str(place) if line["score"] is not None else "-",
            line["label"] + ("" if line["status"] in ("done", "loaded") else f" ({line['status']})"),
            _between(line["score"], line["interval"]),
            spread,
            "-" if line["label"] == reference else _between(line["ratio"], line["ratio_interval"]),
            "-" if line.get("p") is None else f"{line['p']:.2g}",
            str(about["parameters"].get("trainable", 0) or f"{about['parameters'].get('fixed', 0)} fixed"),
            str(about["updates"] or "-"),
            _values(_of_the_row(about["settings"])) or "-",
            f"{sum(seconds) / len(seconds):.0f}" if seconds else "-",
            "-" if about["inference_seconds"] is None else f"{1e3 * about['inference_seconds']:.2g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def trials(found: dict[str, Any]) -> list[str]:
    """A line a row: the validation score of each of its trials, the chosen one in bold."""
    tried: dict[str, dict[str, str]] = {}
    for trial in found["tuning"]:
        name = _values(trial["settings"])
        score = trial["status"] if trial["score"] is None else f"{trial['score']:.3g}"
        tried.setdefault(trial["label"], {})[name] = f"**{score}**" if trial["chosen"] else score
    names = list(dict.fromkeys(name for scores in tried.values() for name in scores))
    lines = ["| emulator | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    return lines + [
        f"| {label} | " + " | ".join(scores.get(name, "-") for name in names) + " |" for label, scores in tried.items()
    ]


def _of_the_row(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what was chosen for a row itself: its first guess is everybody's, and chosen without it."""
    return {key: value for key, value in settings.items() if not key.startswith("first_guess.")}


def _values(settings: dict[str, Any]) -> str:
    return ", ".join(value if isinstance(value, str) else f"{value:g}" for value in settings.values())


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "blown up"


def _between(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" + ("" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]")


if __name__ == "__main__":
    main()
