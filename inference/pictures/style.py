"""The style of every picture: type, colours and lines, colour scales, axes of lead time, units as they are printed."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.backends._backend_pdf_ps import subset  # fontTools', of which matplotlib asks for no options
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogFormatterMathtext, LogLocator, MultipleLocator, NullFormatter
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from graphs.atomic_file import atomic_file
from graphs.temporary_files import short_name
from inference.scores.equivalent_truncation import solver_truncations
from inference.scores.scorecard import Verification

# Okabe and Ito (2008), Color universal design: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREYS = ("#4d4d4d", "#808080", "#a6a6a6")
BROWNS = ("#fec44f", "#fe9929", "#d95f0e", "#993404", "#662506")  # Brewer (2003), YlOrBr
DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
SEQUENTIAL, DIVERGING, ERROR = "viridis", "RdBu_r", "PuOr_r"
MISSING_COLOUR = "#d9d9d9"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
HAIR_SPACE = "\u200a"
PANEL = (3.8, 2.9)  # width and height of one panel [inch]
DPI = 150
MOST_LINEAR = 100.0  # largest over smallest error that a linear axis can still show


@dataclass(frozen=True)
class LineStyle:
    """How one emulator looks in every plot."""

    color: str
    linestyle: Any = "-"
    linewidth: float = 1.6
    alpha: float | None = None


@dataclass(frozen=True)
class ColourScale:
    """One colour map and its ends, shared by all panels that may be compared."""

    name: str
    low: float
    high: float

    @classmethod
    def of(cls, *fields: NDArray[np.floating]) -> ColourScale:
        """Return a scale diverging about zero where the fields have both signs, else sequential; outliers clipped."""
        values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
        low, high = (float(end) for end in np.quantile(values, [0.001, 0.999])) if values.size else (0.0, 1.0)
        if low < 0 < high and min(-low, high) > 0.25 * max(-low, high):
            return cls(DIVERGING, -max(-low, high), max(-low, high))
        return cls(SEQUENTIAL, low, high if high > low else low + 1e-12)

    @classmethod
    def of_error(cls, error: NDArray[np.floating]) -> ColourScale:
        """Return a scale symmetric about zero, in other colours."""
        finite = np.abs(error[np.isfinite(error)])
        high = float(np.quantile(finite, 0.999)) if finite.size else 1.0
        return cls(ERROR, -max(high, 1e-12), max(high, 1e-12))

    @property
    def options(self) -> dict[str, Any]:
        return {"cmap": colormaps[self.name].with_extremes(bad=MISSING_COLOUR), "vmin": self.low, "vmax": self.high}


TRUTH = LineStyle("black", "-", 2.6, 0.35)


def line_styles(labels: Sequence[str], baselines: Sequence[str], solvers: Sequence[str] = ()) -> dict[str, LineStyle]:
    """Return line styles: emulators in colour and solid, baselines in grey and dashed, the same in every plot.

    solvers: one equation's at rising truncation, in browns from light to dark.
    """
    styles, shade, colour = {}, 0, 0
    for label in labels:
        if label in solvers:
            darkness = solvers.index(label) / max(len(solvers) - 1, 1)
            styles[label] = LineStyle(BROWNS[round(darkness * (len(BROWNS) - 1))], "-", 1.3)
        elif label in baselines:
            styles[label] = LineStyle(GREYS[shade % len(GREYS)], DASHES[shade % len(DASHES)], 1.3)
            shade += 1
        else:
            dash = "-" if colour < len(COLOURS) else DASHES[colour // len(COLOURS) % len(DASHES)]
            styles[label] = LineStyle(COLOURS[colour % len(COLOURS)], dash)
            colour += 1
    return styles


def styles_of(verification: Verification) -> Mapping[str, LineStyle]:
    """Return the style of each emulator, by label."""
    truncations = solver_truncations(verification)
    solvers = sorted(truncations, key=truncations.__getitem__)
    return line_styles([e.label for e in verification.emulators], verification.baselines, solvers)


JOURNAL: dict[Any, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 9),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right", "axes.formatter.useoffset"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "text.parse_math": False,  # a $ in the name of a variable or an experiment begins no formula
    "legend.handlelength": 2.4,
    "axes.linewidth": 0.7,
    "axes.titlelocation": "left",
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
}


def journal() -> AbstractContextManager[None]:
    """Return type, lines and layout of every figure as a context, after which the user's settings come back."""
    return rc_context(JOURNAL)


class PlainFigure(Figure):
    """A figure that shows each text as it is written, but for matplotlib's own powers of ten on logarithmic axes."""

    def draw(self, renderer: Any) -> None:
        """Draw it."""
        for axis in [axis for axes in self.axes for axis in (axes.xaxis, axes.yaxis)]:
            _draw_powers(axis.get_major_formatter(), axis.get_major_ticks)
            _draw_powers(axis.get_minor_formatter(), axis.get_minor_ticks)
        super().draw(renderer)


def _draw_powers(formatter: Formatter, ticks: Callable[[int], Sequence[Tick]]) -> None:
    """Have a formatter's labels drawn as formulas, where it is one that writes them."""
    if not isinstance(formatter, LogFormatterMathtext) or "format_ticks" in vars(formatter):
        return
    usual = formatter.format_ticks

    def format_ticks(values: Any) -> list[str]:
        for tick in ticks(len(values)):
            tick.label1.set_parse_math(True)
            tick.label2.set_parse_math(True)
        return usual(values)

    formatter.format_ticks = format_ticks  # type: ignore[method-assign]


def new_figure(rows: int, columns: int, panel: tuple[float, float] = PANEL, **options: Any) -> tuple[Figure, Any]:
    """Draw a figure that no window manager holds, and its axes [row, column]."""
    figure = PlainFigure(figsize=(panel[0] * columns, panel[1] * rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def grouped_panels(
    count: int, columns: int, panel: tuple[float, float], groups: int = 1, **options: Any
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its axes [group, panel], of each group at most so many beside each other."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, grid = new_figure(groups * rows, columns, panel, **options)
    grouped = grid.reshape(groups, rows * columns)
    for unused in grouped[:, count:].ravel():
        unused.remove()
    return figure, grouped[:, :count]


def place_panels(
    figure: Figure,
    panel: tuple[float, float],
    between: tuple[float, float],
    left: float,
    right: float,
    bottom: float,
    top: float,
) -> None:
    """Set the sizes [inch] of all panels, of the room between them and of that around them, and so the figure's.

    A layout engine measures every tick label of every panel, several times, which takes longer than to draw.
    """
    places = figure.axes[0].get_subplotspec()
    assert places is not None  # as `new_figure` makes them
    rows, columns = places.get_gridspec().get_geometry()
    width = left + columns * panel[0] + (columns - 1) * between[0] + right
    height = bottom + rows * panel[1] + (rows - 1) * between[1] + top
    figure.set_layout_engine(None)
    figure.set_size_inches(width, height)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=between[0] / panel[0],
        hspace=between[1] / panel[1],
    )


def as_image(figure: Figure) -> PIL.Image.Image:
    """Return a figure drawn."""
    canvas: Any = figure.canvas
    canvas.draw()
    return PIL.Image.fromarray(np.asarray(canvas.buffer_rgba()))


def save(figure: Figure, path: Path, *, vector: bool = False) -> Path:
    """Return PATH.png, and with `vector` also PATH.pdf with TrueType fonts embedded, as journals ask for."""
    png, image = path.with_name(f"{path.name}.png"), as_image(figure)  # savefig would draw twice
    with atomic_file(png) as temporary:
        image.save(temporary, "PNG", dpi=(DPI, DPI))
    if vector:
        figure.set_layout_engine("none")  # it stands; to seek it again costs as much as to draw
        pdf = path.with_name(f"{path.name}.pdf")
        written = io.BytesIO()  # on a full disk matplotlib's writer of PDF fails with an AttributeError of its own
        with rc_context({"pdf.fonttype": 42}), _glyphs_alone():
            figure.savefig(written, format="pdf", metadata={"CreationDate": None})
        with atomic_file(pdf) as temporary:
            temporary.write_bytes(written.getvalue())
    return png


def file_name(text: str) -> str:
    """Return a name of a variable as one of a file in any folder; two that differ stay different.

    A name in a file may be a path, control characters, or longer than a file system takes.
    """
    plain = re.sub(r"[^\w.+=-]", "_", text)
    if plain != text:
        plain += "-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return short_name(plain)


def shown(label: str) -> str:
    """Return a label that a legend shows as it is; matplotlib leaves out what begins with an underscore."""
    return f"{HAIR_SPACE}{label}" if label.startswith("_") else label


@contextmanager
def _glyphs_alone() -> Iterator[None]:
    """Fonts without their layout tables: a PDF places each glyph, and to thin them out takes most of the time."""
    options: Any = subset.Options
    usual = options._drop_tables_default
    options._drop_tables_default = [*usual, "GSUB", "GPOS", "GDEF"]
    try:
        yield
    finally:
        options._drop_tables_default = usual


def legend(figure: Figure, axes: Axes) -> None:
    """Below the panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        longest = max(len(label) for label in labels)
        columns = max(1, int(figure.get_figwidth() * 16 / (longest + 8)))
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def pretty_unit(unit: str) -> str:
    """Return `m s-1` as it is printed: m s⁻¹."""
    return re.sub(r"(?<=[A-Za-z])\*{0,2}\^?(-?\d+)", lambda power: power[1].translate(SUPERSCRIPTS), unit)


def with_unit(name: str, unit: str) -> str:
    return f"{name} [{pretty_unit(unit)}]" if unit not in ("", "1") else name


def three_leads(steps: NDArray[np.int64]) -> list[int]:
    """Return the first after a tenth of a forecast, the middle and the last."""
    last = len(steps) - 1
    return sorted({int(steps[last // 10]), int(steps[last // 2]), int(steps[last])})


def lead_name(time_step: TimeStep, step: int) -> str:
    """Return one lead time for a title: `6 hours`, `1 month`, `lead time 2.5`, and `initial value`."""
    if step == 0:
        return "initial value"
    (value,), unit = time_step.lead_times(np.array([step]))
    unit = unit[:-1] if value == 1 and unit.endswith("s") and len(unit) > 1 else unit
    return f"{value:g} {unit}" if unit else f"lead time {value:g}"


def lead_axis(axes: Axes, time_step: TimeStep, steps: NDArray[np.int64]) -> None:
    """Label an axis of these lead times, start it at the initial time, and tick whole hours that divide the day."""
    axes.set_xlabel(time_step.lead_axis(steps)[1])
    lead_ticks(axes, time_step.lead_times(steps)[1])


def lead_ticks(axes: Axes, unit: str) -> None:
    """Start an axis of lead time at the initial time; where its unit is hours, tick those that divide the day."""
    axes.set_xlim(left=0.0)
    few = [step for step in (1, 2, 3, 6, 12, 24, 48) if axes.get_xlim()[1] / step <= 9]
    if unit == "hours" and few:
        axes.xaxis.set_major_locator(MultipleLocator(few[0]))


def plain_decades(axes: Axes) -> None:
    """A logarithmic axis labelled 0.02, 0.05, 0.1 rather than by powers, where it spans few decades."""
    low, high = axes.get_ylim()
    if high / low < 3e3:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
