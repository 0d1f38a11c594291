"""Pictures of scenarios: the global mean of each pathway with its band, and maps of the last years."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.pictures import style
from inference.pictures.field_views import colour_bar
from inference.pictures.maps import draw_map, map_box
from inference.pictures.style import COLOURS, DIVERGING, ColourScale, journal, new_figure
from inference.scenarios.regions import RegionMeans
from inference.scenarios.scenario import Scenario
from inference.scenarios.summary import BAND, SPAN, BasePeriod, RegionSeries

COLUMNS = 2  # of maps
WARMING = "YlOrRd"  # Brewer (2003), from zero


def draw_series(series: Sequence[RegionSeries], means: RegionMeans, base: BasePeriod, path: Path) -> Path:
    """Draw the global mean of each pathway over the base period, members as a band; return the file written."""
    column = [region.key for region in means.regions].index("global")
    with journal():
        figure, grid = new_figure(1, 1, (6.2, 3.6))
        axes = grid[0, 0]
        for one, colour in zip(series, COLOURS * len(series), strict=False):
            values, expected = one.anomalies[..., column], one.expected_anomalies[:, column]
            axes.plot(one.years, expected, color=colour, label=style.shown(one.scenario.pathway.name))
            if len(values) > 1:
                low, high = np.percentile(values, BAND, axis=0)
                axes.fill_between(one.years, low, high, color=colour, alpha=0.2, linewidth=0)
            if one.scenario.beyond:
                year = min(one.scenario.beyond.values())
                row = int(np.searchsorted(one.years, year))
                axes.plot(one.years[row], expected[row], "o", color=colour, markersize=5)
        axes.axhline(0.0, color="#888888", linewidth=0.7)
        variable = series[0].scenario.variables[series[0].variable]
        axes.set(xlabel="year", ylabel=style.with_unit("change of the global mean", variable.units))
        axes.set_xlim(series[0].years[0], series[0].years[-1])
        what = f"{variable.name}, over the mean of {base}"
        if any(len(one.values) > 1 for one in series):
            what += ", bands: 5 to 95 % of members"
        if any(one.scenario.beyond for one in series):
            what += "\ndots: beyond the forcings of training"
        axes.set_title(what)
        style.legend(figure, axes)
    return style.save(figure, path)


def draw_maps(scenarios: Sequence[Scenario], variable: int, base: BasePeriod, path: Path) -> Path:
    """Draw the change from the base period to the last 20 years under each pathway, in one scale; return the file."""
    changes = []
    for scenario in scenarios:
        years, mean = scenario.yearly_expected(variable)
        changes.append(mean[-SPAN:].mean(axis=0) - base.of(years, mean.T))
    mesh, about = scenarios[0].mesh, scenarios[0].variables[variable]
    columns = min(COLUMNS, len(scenarios))
    rows = -(-len(scenarios) // columns)
    high = max(float(np.nanquantile(np.abs(change), 0.999)) for change in changes)
    cooler = min(float(np.nanmin(change)) for change in changes) < -0.02 * high
    scale = ColourScale(DIVERGING, -high, high) if cooler else ColourScale(WARMING, 0.0, high)
    with journal():
        figure, grid = new_figure(rows, columns, (4.4, 2.6))
        panels = grid.ravel()
        image = None
        for axes, scenario, change in zip(panels, scenarios, changes, strict=False):
            image = draw_map(axes, mesh, change, scale, map_box(mesh))
            mean = np.average(change[scenario.there], weights=mesh.areas[scenario.there])
            axes.set_title(f"{scenario.pathway.name}, mean {mean:+.1f} {style.pretty_unit(about.units)}")
        for unused in panels[len(scenarios) :]:
            unused.remove()
        span = scenarios[0].yearly_expected(variable)[0][-SPAN:]
        colour_bar(figure, image, list(panels[: len(scenarios)]), f"change of {about.name}", about.units)
        figure.suptitle(f"{span[0]} to {span[-1]} over {base}", x=0.01, ha="left", fontsize=9)
    return style.save(figure, path)
