"""Animations of one case of a forecast, beside its truth or alone."""

from __future__ import annotations

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from inference.pictures.colour_scale import ColourScale
from inference.pictures.field_maps import moving_maps
from inference.pictures.field_views import ERROR, case_name, ring_positions, views_of
from inference.pictures.moving_picture import MovingPicture
from inference.pictures.style import COLOURS, LineStyle, journal, lead_name, new_figure, with_unit


def moving_picture(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0
) -> MovingPicture:
    """Return one case beside its truth, lines over the position on a ring and maps elsewhere, lead by lead."""
    moving = _moving_ring if forecast.mesh.domain.kind == "ring" else moving_maps
    return moving(forecast, truth, variable, case)


def _moving_ring(forecast: Forecast, truth: Fields | None, variable: str | None, case: int) -> MovingPicture:
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
        axes.set_ylim(scale.low - margin, scale.high + margin)
        axes.set(xlabel="position", ylabel=with_unit(view.name, view.unit))
        figure.legend(loc="outside lower center", ncols=2)
        axes.set_title(" ", loc="left")

    def show(place: int) -> None:
        for label, view in views.items():
            lines[label].set_ydata(view.field[place])
        lead = lead_name(forecast.time_step, int(forecast.lead_steps[place]))
        axes.set_title(f"{case_name(forecast, case)}, {lead}", loc="left")

    return MovingPicture(figure, usable, show, [axes])
