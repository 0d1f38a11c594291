"""The explorer: one page with the maps and series of scenarios, which needs no server and no network."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.pathways.pathway import PRESENT
from graphs.atomic_file import write_text
from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.mesh import Mesh
from inference.pictures.coastlines import ATTRIBUTION, coastlines
from inference.pictures.style import DIVERGING, pretty_unit
from inference.report.page import Notes, render
from inference.scenarios.climate import meaning_of_bands
from inference.scenarios.reduction import reduced
from inference.scenarios.regions import AR6_SOURCE, FEWEST, WHOLE, Region, RegionMeans
from inference.scenarios.scenario import Scenario
from inference.scenarios.scenario_pictures import WARMING
from inference.scenarios.summary import BAND, SPAN, BasePeriod, RegionSeries, passed, thresholds_of
from inference.scenarios.words import PATHWAYS, WORDS, title_of

TEMPLATE = Path(__file__).parent / "templates/explorer.html"
ROWS, COLUMNS = 120, 240  # of the map's cells
KNOTS = 5  # years at which a drawn pathway is set
NO_NODE = 2**32 - 1  # in a cell of the map whose node is masked
LARGEST = 5_000_000  # bytes of a page
STEPS = (1, 2, 5, 10)  # years from one map to the next, where every year would make the page too large
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExplorerNotes:
    """What the page says beside its figures: what it cannot tell, and whose data and programs these are.

    first: what a reader must know before looking at any figure. bands: how far its bands held in a test.
    """

    limits: Sequence[str]
    licences: Sequence[str]
    first: str = ""
    bands: str = ""


def write_explorer(
    path: Path,
    scenarios: Sequence[Scenario],
    series: Sequence[RegionSeries],
    means: RegionMeans,
    base: BasePeriod,
    notes: ExplorerNotes,
) -> int:
    """Write the page and return the years from one of its maps to the next.

    series: of the same scenarios, one variable.
    Raises MeshcastError where even few maps would make it larger than 5 MB.
    """
    first, number = scenarios[0], series[0].variable
    years = np.unique(first.years)
    changes = np.stack([_changes(one, number, base) for one in scenarios])  # [pathway, year, node]
    content = _content(scenarios, series, means, base, changes, notes)
    facts = {
        "notes": Notes(title=f"Climate pathways: {first.emulator}"),
        "title": title_of(first.variables[number].name),
        "first": notes.first,
        "meaning": {one.pathway.name: PATHWAYS.get(one.pathway.name, "") for one in scenarios},
        "words": WORDS,
        "base": str(base),
        "temperature": bool(thresholds_of(first, number)),
        "limits": list(notes.limits),
        "licences": list(dict.fromkeys([*notes.licences, AR6_SOURCE, ATTRIBUTION])),
        "left_out": list(means.left_out),
        "fewest": FEWEST,
        "pathways": [(one.pathway.name, one.pathway.source, "; ".join(one.pathway.notes)) for one in scenarios],
    }
    for step in STEPS:
        shown = years[::step] if (len(years) - 1) % step == 0 else np.append(years[::step], years[-1])
        fields = np.where(first.there, changes[:, np.isin(years, shown)], 0.0)
        maps = {"shown": shown.tolist(), "fields": _numbers(fields)}
        text = json.dumps(content | maps, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        page = render(TEMPLATE, data=Markup(text), step=step, **facts)
        if len(page.encode()) <= LARGEST:
            write_text(path, page)
            return step
    raise MeshcastError(
        f"An explorer of {len(scenarios)} pathways on {scenarios[0].mesh.num_nodes:,} nodes would be larger than 5 MB. "
        "Name fewer pathways or years, or leave it out with --no-explorer."
    )


def _content(
    scenarios: Sequence[Scenario],
    series: Sequence[RegionSeries],
    means: RegionMeans,
    base: BasePeriod,
    changes: Array,
    notes: ExplorerNotes,
) -> dict[str, Any]:
    """Return what the page holds beside the maps; changes [pathway, year, node]."""
    first, number = scenarios[0], series[0].variable
    variable = first.variables[number]
    tables = np.stack([_statistics(one) for one in series])  # [pathway, statistic, region, year]
    column = [region.key for region in means.regions].index("global")
    return {
        "variable": variable.name,
        "title": title_of(variable.name),
        "units": pretty_unit(variable.units),
        "base": str(base),
        "emulator": first.emulator,
        "years": np.unique(first.years).tolist(),
        "pathways": [_about(one, part, column) for one, part in zip(scenarios, series, strict=True)],
        "regions": [
            {"key": region.key, "name": _spelt(region.name), "cells": int(cells), "outlines": _outlines(region)}
            for region, cells in zip(means.regions, means.cells, strict=True)
        ],
        "rows": ROWS,
        "columns": COLUMNS,
        "nodes": first.mesh.num_nodes,
        "statistics": tables.shape[1],
        **_scales(changes[..., first.there], first.mesh.areas[first.there]),
        "raster": _packed(_nearest(first.mesh, first.there)),
        "series": _numbers(tables),
        "coasts": _coasts(),
        "warming": _colours(WARMING),
        "diverging": _colours(DIVERGING),
        "thresholds": thresholds_of(first, number),
        "span": SPAN,
        "band": BAND,
        "bands": f"{meaning} {notes.bands}".strip() if (meaning := meaning_of_bands(scenarios)) else "",
        "own": _own(scenarios, changes, means),
    }


def _spelt(name: str) -> str:
    """Return a region's name as a reader spells it: AR6 writes `Equatorial.Indic-Ocean` and `W.C.Asia`."""
    return (
        name.replace("Equatorial.", "Equatorial ").replace(".", ". ").replace("&", " and ").replace("-Ocean", " Ocean")
    )


def _outlines(region: Region) -> list[list[float]]:
    """Return closed lines as longitude and latitude in turn, to a tenth of a degree; none of the whole Earth."""
    lines = (np.array([*outline, outline[0]]) for outline in region.outlines if outline != WHOLE)
    return [np.round(line, 1).ravel().tolist() for line in lines]


def _scales(fields: Array, areas: Array) -> dict[str, Any]:
    """Return the ends of the colours of maps and of differences, and whether there is cooling to show.

    A twentieth of the Earth may lie beyond the ends. fields: [pathway, year, node].
    """
    last = fields[:, -1]
    highest = _round(max(_end(change, areas) for change in last))
    apart = _round(max(_end(one - other, areas) for one in last for other in last))
    return {"highest": highest, "apart": apart, "cooler": bool(np.quantile(fields, 0.001) < -0.1 * highest)}


def _end(change: Array, areas: Array) -> float:
    """Return the size of a change [node] that a twentieth of the area exceeds."""
    order = np.argsort(np.abs(change))
    place = int(np.searchsorted(np.cumsum(areas[order]), 0.95 * areas.sum()))
    return float(np.abs(change)[order][min(place, len(order) - 1)])


def _round(value: float) -> float:
    """Return a value a little higher that is easily read."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8, 10) if step * power >= value))


def _changes(scenario: Scenario, variable: int, base: BasePeriod) -> Array:
    """Return the expected change from the base period [year, node]."""
    years, mean = scenario.yearly_expected(variable)
    return np.asarray(mean - base.of(years, mean.T), np.float64)


def _statistics(series: RegionSeries) -> Array:
    """Return [statistic, region, year] of anomalies: what is expected, of several members their band."""
    expected = series.expected_anomalies.T[None]
    if len(series.anomalies) == 1:
        return np.repeat(expected, 3, axis=0)
    return np.concatenate([expected, np.percentile(series.anomalies, BAND, axis=0).transpose(0, 2, 1)])


def _about(scenario: Scenario, series: RegionSeries, column: int) -> dict[str, Any]:
    anomaly = series.expected_anomalies[:, column]
    return {
        "name": scenario.pathway.name,
        "meaning": PATHWAYS.get(scenario.pathway.name, ""),
        "members": len(scenario.values),
        "beyond": min(scenario.beyond.values(), default=None),
        "passes": [passed(series.years, anomaly, level) for level in thresholds_of(scenario, series.variable)],
    }


def _own(scenarios: Sequence[Scenario], changes: Array, means: RegionMeans) -> dict[str, Any] | None:
    """Return what the page needs to evaluate a pathway of total forcing that somebody draws, None where it cannot."""
    reduction = reduced(scenarios, changes)
    last = int(scenarios[0].years[-1])
    if reduction is None or last < PRESENT + 20:
        return None
    to = 5 if last > PRESENT + 60 else 1
    knots = np.unique((to * np.round(np.linspace(PRESENT + 7, last, KNOTS) / to)).astype(int))
    knots[-1] = last
    return {
        "years": reduction.years,
        "error": round(reduction.error, 3),
        "low": round(reduction.low, 2),
        "high": round(reduction.high, 2),
        "present": PRESENT - 1,
        "begin": int(scenarios[0].pathway.years[0]),
        "knots": knots.tolist(),
        "forcing": [np.round(one.pathway.mean().total[0], 3).tolist() for one in scenarios],
        "weights": base64.b64encode(reduction.weights.astype("<f4").tobytes()).decode(),
        "regions": means.of(reduction.weights).round(5).tolist(),
    }


def _nearest(mesh: Mesh, there: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return the node nearest to each cell of the map, rows from the north, columns from 180 W; none where masked."""
    latitude = 90 - (np.arange(ROWS) + 0.5) * 180 / ROWS
    longitude = -180 + (np.arange(COLUMNS) + 0.5) * 360 / COLUMNS
    rows, columns = np.meshgrid(latitude, longitude, indexing="ij")
    node = cKDTree(mesh.positions).query(to_xyz(rows, columns).reshape(-1, 3))[1]
    return np.where(there[node], node, NO_NODE).astype("<u4")


def _numbers(values: Array) -> Mapping[str, Any]:
    """Return numbers [..., n] as 16 bits each, differences along their second axis, deflated."""
    largest = float(np.abs(values).max()) or 1.0
    unit = largest / 32_000
    whole = np.round(values / unit).astype(np.int64)
    steps = np.diff(whole, axis=1, prepend=0)
    wrapped = (steps & 0xFFFF).astype("<u2")
    return {"unit": unit, "shape": list(values.shape), "data": _packed(wrapped)}


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def _coasts() -> list[list[float]]:
    """Return lines as longitude and latitude in turn, to a tenth of a degree."""
    lines = coastlines((-180.0, 180.0, -90.0, 90.0))
    return [np.round(line, 1).ravel().tolist() for line in lines if len(line) > 5]


def _colours(name: str) -> list[int]:
    """Return a colour map of 256 colours as red, green and blue in turn."""
    colours: NDArray[np.float64] = np.asarray(colormaps[name](np.linspace(0, 1, 256)))[:, :3]
    return np.round(255 * colours).astype(int).ravel().tolist()
