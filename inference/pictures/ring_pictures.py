"""Pictures of a forecast on a ring: its Hovmöller diagram, and its values over the position, lead by lead."""

from __future__ import annotations

from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from graphs.errors import MeshcastError
from inference.pictures.field_views import ERROR, MovingPicture, case_name, colour_bar, ring_positions, views_of
from inference.pictures.maps import draw_lines, edges
from inference.pictures.style import COLOURS, ColourScale, LineStyle, journal, lead_name, new_figure, with_unit


def hovmoeller(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0, contours: bool = False
) -> Figure:
    """Return the diagrams of truth, forecast and error, or of the forecast alone; contours: lines of equal value."""
    if forecast.mesh.domain.kind != "ring":
        raise MeshcastError(f"A Hovmöller diagram needs a ring, but the forecast is on a {forecast.mesh.describe()}.")
    views, _ = views_of(forecast, truth, variable, case)
    scale = ColourScale.of(*(view.field for title, view in views.items() if title != ERROR))
    lead, label = forecast.time_step.lead_axis(forecast.lead_steps)
    with journal():
        figure, (row,) = new_figure(1, len(views), (2.5 if truth is not None else 4.2, 4.0), sharey=True)
        for axes, (title, view) in zip(row, views.items(), strict=True):
            shade = ColourScale.of_error(view.field) if title == ERROR else scale
            sides = edges(ring_positions(forecast.mesh)), edges(lead)
            image = axes.pcolormesh(*sides, view.field, rasterized=True, **shade.options)
            if contours:
                draw_lines(axes, axes.contour, shade, ring_positions(forecast.mesh), lead, view.field)
            axes.set(title=title, xlabel="position")
            axes.grid(False)
            if title == ERROR:
                colour_bar(figure, image, axes, f"error of {view.name}", view.unit, "bottom")
            elif title == forecast.name:
                colour_bar(figure, image, list(row[:2]), view.name, view.unit, "bottom")
        row[0].set_ylabel(label)
        figure.suptitle(case_name(forecast, case), x=0.01, ha="left", fontsize=9)
    return figure


def moving_ring(forecast: Forecast, truth: Fields | None, variable: str | None, case: int) -> MovingPicture:
    views, usable = views_of(forecast, truth, variable, case)
    views.pop(ERROR, None)
    position, scale = ring_positions(forecast.mesh), ColourScale.of(*(view.field[usable] for view in views.values()))
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.2, 3.0))
        lines = {}
        for label, view in views.items():
            style = LineStyle("black", "-", 3.0, 0.4) if label == "truth" else LineStyle(COLOURS[0])
            (lines[label],) = axes.plot(position, view.field[usable[0]], label=label, **vars(style))
        margin = 0.08 * (scale.high - scale.low)
        limits = scale.low - margin, scale.high + margin
        axes.set(xlabel="position", ylabel=with_unit(view.name, view.unit), ylim=limits)
        figure.legend(loc="outside lower center", ncols=2)
        axes.set_title(" ", loc="left")

    def show(place: int) -> None:
        for label, view in views.items():
            lines[label].set_ydata(view.field[place])
        lead = lead_name(forecast.time_step, int(forecast.lead_steps[place]))
        axes.set_title(f"{case_name(forecast, case)}, {lead}", loc="left")

    return MovingPicture(figure, usable, show, [axes])
