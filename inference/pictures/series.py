"""Values at one place along the lead time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from inference.pictures.field_views import case_name, central_node, place_name, truth_of, variable_of
from inference.pictures.style import COLOURS, TRUTH, LineStyle, journal, lead_axis, legend, new_figure, with_unit


def series(
    forecasts: Sequence[Forecast],
    truth: Fields | None = None,
    variable: str | None = None,
    case: int = 0,
    node: int | None = None,
    styles: Mapping[str, LineStyle] | None = None,
) -> Figure:
    """Draw values at one place along the lead time; members as thin lines.

    node: by default the one nearest the middle of the mesh.
    """
    first = forecasts[0]
    column, name, unit = variable_of(first, variable)
    node = central_node(first.mesh) if node is None else node
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.2, 3.2))
        if truth is not None:
            there = truth_of(first, truth, case)[:, node, column]
            axes.plot(first.time_step.lead_times(first.lead_steps)[0], there, label="truth", **vars(TRUTH))
        for forecast, color in zip(forecasts, COLOURS * len(forecasts), strict=False):
            style = (styles or {}).get(forecast.name, LineStyle(color))
            lead, _ = forecast.time_step.lead_times(forecast.lead_steps)
            values = forecast.values[case, :, :, node, column]
            for member in values if len(values) > 1 else []:
                axes.plot(lead, member, color=style.color, linewidth=0.5, alpha=0.5)
            axes.plot(lead, values.mean(0), label=forecast.name, **vars(style))
        axes.set_ylabel(with_unit(name, unit))
        lead_axis(axes, first.time_step, first.lead_steps)
        axes.set_title(f"{place_name(first.mesh, node)}, {case_name(first, case)}")
        legend(figure, axes)
    return figure
