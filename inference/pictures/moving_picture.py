"""A figure of one lead time that can show the others: the frames of a slider, and of an animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from inference.pictures.style import journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class MovingPicture:
    """A figure, the indices of the lead times that it can show, and what makes it show one."""

    figure: Figure
    places: NDArray[np.int64]
    show: Callable[[int], None]

    def frames(self, most: int, dpi: int) -> Iterator[tuple[int, PIL.Image.Image]]:
        """Yield the index of a lead time and its picture, evenly spread over at most so many lead times."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        last = len(self.places) - 1
        with journal():
            canvas = FigureCanvasAgg(self.figure)
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")  # what was laid out once stays: half a frame's time, and no jitter
            self.figure.dpi = dpi
            for place in self.places[np.unique(np.linspace(0, last, min(most, last + 1)).round().astype(int))]:
                self.show(int(place))
                canvas.draw()
                yield int(place), PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])

    def write_gif(self, path: Path, max_frames: int = 48, max_bytes: int = 2_000_000) -> Path:
        """Write an animation of a frame a lead time, thinned until it is smaller than `max_bytes`."""
        while True:
            pictures = [picture for _, picture in self.frames(max_frames, dpi=80)]
            pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125, loop=0)
            if path.stat().st_size <= max_bytes or max_frames <= 4:
                return path
            max_frames = max(int(max_frames * 0.8 * max_bytes / path.stat().st_size), 4)
