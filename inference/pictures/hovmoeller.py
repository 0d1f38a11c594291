"""Hovmöller diagrams: position around the ring against lead time."""

from __future__ import annotations

from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from graphs.errors import MeshcastError
from inference.pictures.colour_scale import ColourScale
from inference.pictures.field_views import ERROR, case_name, colour_bar, ring_edges, views_of
from inference.pictures.maps import edges
from inference.pictures.style import journal, new_figure


def hovmoeller(forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0) -> Figure:
    """Return the diagrams of truth, forecast and error, or of the forecast alone."""
    if forecast.mesh.domain.kind != "ring":
        raise MeshcastError(f"A Hovmöller diagram needs a ring, but the forecast is on a {forecast.mesh.describe()}.")
    views, _ = views_of(forecast, truth, variable, case)
    scale = ColourScale.of(*(view.field for title, view in views.items() if title != ERROR))
    lead, label = forecast.time_step.lead_axis(forecast.lead_steps)
    with journal():
        figure, (row,) = new_figure(1, len(views), (2.5 if truth is not None else 4.2, 4.0), sharey=True)
        for axes, (title, view) in zip(row, views.items(), strict=True):
            shade = ColourScale.of_error(view.field) if title == ERROR else scale
            image = axes.pcolormesh(
                ring_edges(forecast.mesh), edges(lead), view.field, rasterized=True, **shade.options
            )
            axes.set_title(title)
            axes.set_xlabel("position")
            axes.grid(False)
            if title == ERROR:
                colour_bar(figure, image, axes, f"error of {view.name}", view.unit, "bottom")
            elif title == forecast.name:
                colour_bar(figure, image, list(row[:2]), view.name, view.unit, "bottom")
        row[0].set_ylabel(label)
        figure.suptitle(case_name(forecast, case), x=0.01, ha="left", fontsize=9)
    return figure
