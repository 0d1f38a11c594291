"""The table of a comparison of climates: each row's seeds together, with intervals, and who was told the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.forced_response import ForcedResponse, PatternScalingConfig
from inference.comparison.record import ClimateRow, Row
from inference.report.score_tables import number
from inference.scenarios.scores import ClimateTruth

Array = NDArray[np.float64]
DRAWS = 500
LEVEL = (2.5, 97.5)
TITLES = {
    "nrmse_total": "NRMSE, total",
    "nrmse_spatial": "NRMSE, spatial",
    "nrmse_global": "NRMSE, global",
    "late_rmse": "RMSE of the late mean",
    "late_bias": "its global bias",
    "yearly_rmse": "RMSE of single years",
    "trend_error": "trend error a decade",
    "region_rmse": "RMSE of regions",
    "threshold_years": "years that levels are passed too early or late",
    "wet_area_bias": "wet-area bias",
    "csi": "CSI of 1 mm a day",
}
TOLD = "pattern scaling told the true global mean (no forecast)"


def climate_rows(rows: Sequence[Row], truths: Mapping[str, ClimateTruth], variables: Sequence[str]) -> list[ClimateRow]:
    """Return the rows of the table, by variable and best first by the total NRMSE.

    truths: by variable. Rows whose forecasts did not stay finite are left out; where one scales patterns, another is
    added that was told the true global mean, which no forecast knows.
    """
    found = []
    for variable, truth in truths.items():
        column = list(variables).index(variable)
        of_variable: list[ClimateRow] = []
        told: list[Array] = []
        known = truth.areas > 0
        for row in rows:
            forecasts = [
                seed.forecast.values[:, 0, :, :, column].astype(np.float64)
                for seed in row.forecast_seeds
                if seed.forecast is not None
            ]
            if forecasts and all(np.isfinite(values[..., known]).all() for values in forecasts):
                of_variable.append(_row(row.label, variable, truth, forecasts))
                told = told or _told_truth(row, truth, forecasts[0], column)
        if told:
            of_variable.append(_row(TOLD, variable, truth, told))
        found += sorted(of_variable, key=lambda one: one.scores["nrmse_total"])
    return found


def climate_cells(rows: Sequence[ClimateRow]) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of the table."""
    names = [name for name in TITLES if any(name in row.scores for row in rows)]
    cells = [
        [row.variable, row.label, str(row.seeds)] + [_cell(row, name) if name in row.scores else "" for name in names]
        for row in rows
    ]
    return ["variable", "row", "seeds", *(TITLES[name] for name in names)], cells


def climate_findings(rows: Sequence[ClimateRow], reference: str) -> list[str]:
    """Return who is best by the total NRMSE, a sentence a variable, and whether a closed form beats the reference."""
    found = []
    for variable in dict.fromkeys(row.variable for row in rows):
        scores = {row.label: row for row in rows if row.variable == variable and row.label != TOLD}
        best = min(scores.values(), key=lambda row: row.scores["nrmse_total"])
        text = f"{best.label} is best by the total NRMSE of {variable}, {_cell(best, 'nrmse_total')}"
        if reference in scores and best.label != reference:
            ours = scores[reference]
            apart = best.interval["nrmse_total"][1] < ours.interval["nrmse_total"][0]
            text += f"; {reference} has {_cell(ours, 'nrmse_total')}, " + (
                "so that it loses to it" if apart else "which these years do not tell apart"
            )
        found.append(f"{text}.")
        if reference in scores:
            size = scores[reference].scores["nrmse_total"]
            better = [label for label, row in scores.items() if "pattern" in label and row.scores["nrmse_total"] < size]
            found += [f"{label} wins over {reference}, of {variable}." for label in better]
    return found


def tidy_climate(rows: Sequence[ClimateRow]) -> list[dict[str, object]]:
    """Return a dictionary a row, variable and score, for a table of machines."""
    return [
        {
            "label": row.label,
            "variable": row.variable,
            "score": name,
            "seeds": row.seeds,
            "median": value,
            "lowest": row.lowest[name],
            "highest": row.highest[name],
            "lower": row.interval[name][0],
            "upper": row.interval[name][1],
        }
        for row in rows
        for name, value in row.scores.items()
    ]


def _cell(row: ClimateRow, name: str) -> str:
    low, high = row.interval[name]
    return f"{number(row.scores[name])} [{number(low)}, {number(high)}]"


def _row(label: str, variable: str, truth: ClimateTruth, forecasts: Sequence[Array]) -> ClimateRow:
    each = [truth.of(values).plain() for values in forecasts]
    share = -(-DRAWS // len(forecasts))
    drawn = [truth.resampled(values, share, seed=place) for place, values in enumerate(forecasts)]
    pooled = {name: np.concatenate([one[name] for one in drawn]) for name in each[0]}
    return ClimateRow(
        label,
        variable,
        len(forecasts),
        {name: float(np.median([one[name] for one in each])) for name in each[0]},
        {name: min(one[name] for one in each) for name in each[0]},
        {name: max(one[name] for one in each) for name in each[0]},
        {
            name: (float(low), float(high))
            for name, values in pooled.items()
            for low, high in [np.percentile(values, LEVEL)]
        },
    )


def _told_truth(row: Row, truth: ClimateTruth, forecast: Array, column: int) -> list[Array]:
    """Return what pattern scaling makes of the truth's global mean, of a variable of the first; nothing of others."""
    trained = row.seeds[0].emulator
    model = None if trained is None else trained.emulator
    if not isinstance(model, ForcedResponse) or not isinstance(model.config, PatternScalingConfig) or column:
        return []
    if len(model.weights) > 1:
        return []
    pattern = model.weights[0, 1, :, column].numpy(force=True)
    missing = np.nan_to_num(truth.values.mean(axis=0) - forecast.mean(axis=0)) @ truth.areas
    return [forecast.mean(axis=0, keepdims=True) + missing[:, None] * pattern / (np.nan_to_num(pattern) @ truth.areas)]
