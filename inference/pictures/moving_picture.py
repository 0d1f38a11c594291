"""A figure of one lead time that can show the others: the frames of a slider, and of an animation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from inference.pictures.style import journal


@dataclass(frozen=True, eq=False)
class MovingPicture:
    """A figure, the indices of the lead times that it can show, and what makes it show one by changing some axes."""

    figure: Figure
    places: NDArray[np.int64]
    show: Callable[[int], None]
    changing: Sequence[Axes]

    def spread(self, most: int) -> list[int]:
        """Return at most so many of the places, from the first to the last."""
        last = len(self.places) - 1
        return self.places[np.unique(np.linspace(0, last, min(most, last + 1)).round().astype(int))].tolist()

    def frames(self, places: Iterable[int], dpi: int) -> Iterator[PIL.Image.Image]:
        """Yield the picture of each place, all in the layout of the first; what does not change is drawn once."""
        canvas: Any = self.figure.canvas
        with journal():
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")  # what was laid out once stays: half a frame's time, and no jitter
            self.figure.dpi = dpi
            for axes in self.changing:
                axes.set_visible(False)
            canvas.draw()
            still = canvas.copy_from_bbox(self.figure.bbox)
            for axes in self.changing:
                axes.set_visible(True)
            for place in places:
                self.show(place)
                canvas.restore_region(still)
                for axes in self.changing:
                    self.figure.draw_artist(axes)
                yield PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])

    def write_gif(self, path: Path, max_frames: int = 48, max_bytes: int = 2_000_000) -> Path:
        """Write an animation of a frame a lead time, thinned until it is smaller than `max_bytes`."""
        drawn: dict[int, PIL.Image.Image] = {}
        while True:
            places = self.spread(max_frames)
            new = [place for place in places if place not in drawn]
            for place, frame in zip(new, self.frames(new, dpi=80), strict=False):
                drawn[place] = frame.convert("P", palette=PIL.Image.Palette.ADAPTIVE)  # as GIF has it, and once
            first, *others = [drawn[place] for place in places]
            first.save(path, save_all=True, append_images=others, duration=125, loop=0)
            if path.stat().st_size <= max_bytes or max_frames <= 4:
                return path
            max_frames = max(int(max_frames * 0.8 * max_bytes / path.stat().st_size), 4)
