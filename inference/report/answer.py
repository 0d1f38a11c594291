"""The answer that a report opens with: what was forecast, how well, against which baseline, and how sure that is."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.scores import ROUNDING
from inference.pictures.style import lead_name
from inference.report.score_tables import sentence
from inference.scores import bootstrap
from inference.scores.equivalent_truncation import solver_truncations
from inference.scores.scorecard import ForecastScores, Verification, common_cases


def first_emulator(verification: Verification) -> ForecastScores:
    """Return the emulator that the report is about: the first that is no baseline and no solver of the truth."""
    known = {*verification.baselines, *solver_truncations(verification)}
    others = [emulator for emulator in verification.emulators if emulator.label not in known]
    return (others or [*verification.emulators])[0]


@lru_cache(maxsize=4)  # asked for by the answer, its pictures and the tables
def hardest_baseline(verification: Verification) -> str | None:
    """Return the baseline with the least error beside the first emulator, None where there is none."""
    first = first_emulator(verification).label
    ratios = {other: error_ratio(verification, first, other)[0] for other in verification.baselines if other != first}
    known = {other: ratio for other, ratio in ratios.items() if np.isfinite(ratio)}
    return max(known, key=known.__getitem__) if known else None


@lru_cache(maxsize=16)  # which resamples
def error_ratio(verification: Verification, label: str, other: str) -> tuple[float, float, float]:
    """Return the RMSE of one emulator over another's, and the bounds of its interval, both on the same cases.

    It is the geometric mean over the lead times and variables at which both have a score.
    """
    pair = common_cases(verification[label], verification[other])
    draws = verification.resamples(*pair)
    least = ROUNDING * verification.magnitude
    one, two = (np.log(np.maximum(emulator.mean("rmse"), least)) for emulator in pair)
    known = np.isfinite(one - two)
    if not known.any():
        return np.nan, np.nan, np.nan
    first, second = (np.log(np.maximum(emulator.mean("rmse", draws.counts), least))[:, known] for emulator in pair)
    bounds = bootstrap.interval((first - second).mean(1), draws.num_blocks, verification.level)
    mean, lower, upper = np.exp([(one - two)[known].mean(), *map(float, bounds)]).tolist()
    return mean, lower, upper


def answer(verification: Verification) -> str:
    """Return one sentence: what was forecast, how well, against which baseline, how sure."""
    first = first_emulator(verification)
    verified = first.lead_steps[first.verified.any((0, 2))]
    if not verified.size:
        return f"No forecast of {first.label} could be verified: the truth has none of its lead times."
    names = _listed(verification.variables)
    cases = f"{first.num_cases} start{'' if first.num_cases == 1 else 's'}"
    reach = lead_name(verification.time_step, int(verified[-1]))
    ahead = "" if reach.startswith("lead time") else " ahead"  # of an equation's own time
    within = f" within {verification.region}" if verification.region else ""
    what = sentence(f"{first.label} forecasts {names}{within} up to {reach}{ahead} from {cases}")
    best, level = hardest_baseline(verification), f"{100 * verification.level:g} %"
    if best is None:
        return f"{what}, with {_errors(verification, first, int(verified[-1]))} at its end."
    ratio, lower, upper = error_ratio(verification, first.label, best)
    count = len(verification.baselines)
    rank = "the only baseline" if count == 1 else f"the best of {count} baselines"
    interval = f"{level} interval {_percent(lower)} to {_percent(upper)}"
    sure = interval if np.isfinite(lower) else "too few starts for an interval"
    chance = ", a difference that may be chance" if lower <= 1.0 <= upper else ""
    stopped = int(first.failed.max(initial=0))
    some = f"; {stopped} of its forecasts were stopped, and count up to there" if stopped else ""
    return (
        f"{what}, with an RMSE {_percent(ratio)} that of {best}, {rank}{chance} ({sure}; geometric mean over lead times"
        f"{' and variables' if len(verification.variables) > 1 else ''}{some})."
    )


def better_leads(verification: Verification) -> tuple[list[str], list[list[Markup]]]:
    """Return a table, head and rows: at how many lead times each emulator is better than every baseline in RMSE."""
    rows = []
    for emulator in verification.emulators:
        if emulator.label not in verification.baselines and verification.baselines:
            cells = [_cell(verification, emulator, column) for column in range(len(verification.variables))]
            rows.append([escape(emulator.label), *cells])
    return ["lead times better than every baseline", *verification.variables], rows


def _cell(verification: Verification, emulator: ForecastScores, column: int) -> Markup:
    """Return how many leads have every paired difference's interval below zero, of those compared, and which."""
    found = [verification.difference(emulator.label, baseline) for baseline in verification.baselines]
    known = [difference.lead_steps[np.isfinite(difference.estimate[:, column])] for difference in found]
    leads = reduce(np.intersect1d, known)
    upper = [difference.upper[np.searchsorted(difference.lead_steps, leads), column] for difference in found]
    better = leads[(np.array(upper) < 0).all(axis=0)]
    which = _lead_list(better, verification.time_step) if 0 < len(better) < len(leads) else ""
    return Markup("{} of {}<br><small>{}</small>").format(len(better), len(leads), which)


def _lead_list(steps: NDArray[np.int64], time_step: TimeStep) -> str:
    """Return lead times in words, consecutive ones as a range."""
    runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    words = [
        " to ".join(lead_name(time_step, int(step)) for step in sorted({int(run[0]), int(run[-1])})) for run in runs[:6]
    ]
    return ", ".join(words) + (" ..." if len(runs) > 6 else "")


def _errors(verification: Verification, emulator: ForecastScores, step: int) -> str:
    """Return the RMSE of every variable at one lead, with its interval."""
    (place,) = np.flatnonzero(emulator.lead_steps == step)
    means, (lower, upper) = emulator.mean("rmse")[place], verification.interval(emulator.label, "rmse")
    words = []
    for column, (name, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
        bounds = f" ({lower[place, column]:.3g} to {upper[place, column]:.3g})"
        value = f"{means[column]:.3g}{'' if unit == '1' else ' ' + unit}"
        words.append(f"{value}{bounds if np.isfinite(lower[place, column]) else ''} in {name}")
    return f"an RMSE of {_listed(words)}"


def _percent(ratio: float) -> str:
    """Return a ratio in words: `37 % below`, `5 % above`, `3.2 times`."""
    if ratio > 2:
        return f"{ratio:.2g} times"
    return f"{100 * abs(ratio - 1):.2g}\N{NO-BREAK SPACE}% {'below' if ratio < 1 else 'above'}"


def _listed(words: tuple[str, ...] | list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
