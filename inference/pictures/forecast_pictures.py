"""Pictures of a forecast on any mesh: an animation, a series at one place, and all that it shows without truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from graphs.atomic_file import output_folder
from graphs.output_lock import output_lock
from inference.pictures import style
from inference.pictures.field_maps import maps, moving_maps
from inference.pictures.field_views import MovingPicture, case_name, central_node, place_name, truth_of, variable_of
from inference.pictures.ring_pictures import hovmoeller, moving_ring
from inference.pictures.style import COLOURS, TRUTH, LineStyle, journal, new_figure


def moving_picture(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0
) -> MovingPicture:
    """Return one case beside its truth, lines over the position on a ring and maps elsewhere, lead by lead."""
    moving = moving_ring if forecast.mesh.domain.kind == "ring" else moving_maps
    return moving(forecast, truth, variable, case)


def series(
    forecasts: Sequence[Forecast],
    truth: Fields | None = None,
    case: int = 0,
    styles: Mapping[str, LineStyle] | None = None,
) -> Figure:
    """Draw the first variable in the middle of the mesh along the lead time; members as thin lines."""
    first = forecasts[0]
    column, name, unit = variable_of(first, None)
    node = central_node(first.mesh)
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.2, 3.2))
        if truth is not None:
            there = truth_of(first, truth, case)[:, node, column]
            axes.plot(first.time_step.lead_times(first.lead_steps)[0], there, label="truth", **vars(TRUTH))
        for forecast, color in zip(forecasts, COLOURS * len(forecasts), strict=False):
            look = (styles or {}).get(forecast.name, LineStyle(color))
            lead, _ = forecast.time_step.lead_times(forecast.lead_steps)
            values = forecast.values[case, :, :, node, column]
            for member in values if len(values) > 1 else []:
                axes.plot(lead, member, color=look.color, linewidth=0.5, alpha=0.5)
            axes.plot(lead, values.mean(0), label=forecast.name, **vars(look))
        style.lead_axis(axes, first.time_step, first.lead_steps)
        place = f"{place_name(first.mesh, node)}, {case_name(first, case)}"
        axes.set(title=place, ylabel=style.with_unit(name, unit))
        style.legend(figure, axes)
    return figure


def write_pictures(forecast: Forecast, folder: Path) -> list[Path]:
    """Draw the first case of a forecast into `folder`, and return the files written.

    A ring gets a space-time diagram, the sphere maps, a variable each.
    """
    with output_lock(output_folder(folder), folder=True):
        return _write(forecast, folder)


def _write(forecast: Forecast, folder: Path) -> list[Path]:
    name, draw = ("hovmoeller", hovmoeller) if forecast.mesh.domain.kind == "ring" else ("maps", maps)
    figures = {f"{name}_{variable}": draw(forecast, None, variable) for variable in forecast.variables}
    written = [style.save(figure, folder / stem) for stem, figure in {**figures, "series": series([forecast])}.items()]
    return [*written, moving_picture(forecast).write_gif(folder / "animation.gif")]
