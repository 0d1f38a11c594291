"""Pictures of a forecast alone, without truth: fields, a series at a place, an animation."""

from __future__ import annotations

from pathlib import Path

from emulator.data.forecast import Forecast
from graphs.atomic_file import output_folder
from inference.pictures import field_pictures as pictures


def write_pictures(forecast: Forecast, folder: Path, case: int = 0) -> list[Path]:
    """Draw one case of a forecast into `folder`; the files written.

    A ring gets a space-time diagram, the sphere maps, a variable each.
    """
    output_folder(folder)
    written = []
    for variable in forecast.variables:
        on_ring = forecast.mesh.domain.kind == "ring"
        draw = pictures.hovmoeller if on_ring else pictures.maps
        path = folder / f"{'hovmoeller' if on_ring else 'maps'}_{variable}.png"
        draw(forecast, None, variable, case).savefig(path)
        written.append(path)
    path = folder / "series.png"
    pictures.series([forecast], None, None, case).savefig(path)
    written.append(path)
    written.append(pictures.animation(forecast, folder / "animation.gif", None, forecast.variables[0], case))
    return written
