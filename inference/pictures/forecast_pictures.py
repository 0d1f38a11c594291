"""Pictures of a forecast alone, without truth: fields, a series at a place, an animation."""

from __future__ import annotations

from pathlib import Path

from emulator.data.forecast import Forecast
from graphs.atomic_file import output_folder
from inference.pictures.animation import animation
from inference.pictures.field_maps import maps
from inference.pictures.hovmoeller import hovmoeller
from inference.pictures.series import series


def write_pictures(forecast: Forecast, folder: Path, case: int = 0) -> list[Path]:
    """Draw one case of a forecast into `folder`; the files written.

    A ring gets a space-time diagram, the sphere maps, a variable each.
    """
    output_folder(folder)
    written = []
    for variable in forecast.variables:
        on_ring = forecast.mesh.domain.kind == "ring"
        draw = hovmoeller if on_ring else maps
        path = folder / f"{'hovmoeller' if on_ring else 'maps'}_{variable}.png"
        draw(forecast, None, variable, case).savefig(path)
        written.append(path)
    path = folder / "series.png"
    series([forecast], None, None, case).savefig(path)
    written.append(path)
    written.append(animation(forecast, folder / "animation.gif", None, forecast.variables[0], case))
    return written
