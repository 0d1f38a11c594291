"""Pictures of a forecast alone, without truth: fields, a series at a place, an animation."""

from __future__ import annotations

from pathlib import Path

from emulator.data.forecast import Forecast
from graphs.atomic_file import output_folder
from inference.pictures.animation import moving_picture
from inference.pictures.field_maps import maps
from inference.pictures.hovmoeller import hovmoeller
from inference.pictures.series import series
from inference.pictures.style import save


def write_pictures(forecast: Forecast, folder: Path) -> list[Path]:
    """Draw the first case of a forecast into `folder`, and return the files written.

    A ring gets a space-time diagram, the sphere maps, a variable each.
    """
    output_folder(folder)
    name, draw = ("hovmoeller", hovmoeller) if forecast.mesh.domain.kind == "ring" else ("maps", maps)
    figures = {f"{name}_{variable}": draw(forecast, None, variable) for variable in forecast.variables}
    written = [save(figure, folder / stem) for stem, figure in {**figures, "series": series([forecast])}.items()]
    return [*written, moving_picture(forecast).write_gif(folder / "animation.gif")]
