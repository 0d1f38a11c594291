"""The report: one HTML file that stands alone, with the pictures, tables and data files beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.winds import winds
from graphs.atomic_file import output_folder, write_text
from inference.pictures import flow_plots, score_curves
from inference.pictures.coastlines import ATTRIBUTION
from inference.pictures.field_maps import maps
from inference.pictures.forecast_pictures import moving_picture, series
from inference.pictures.ring_pictures import hovmoeller
from inference.pictures.style import DPI, file_name, lead_name, save, styles_of
from inference.report.answer import hardest_baseline
from inference.report.page import Image, Notes, Slider, page, page_width, webp_address
from inference.report.score_tables import sentence
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import Verification
from inference.scores.tables import write_tables

MOST_POINTS = 400  # of one curve; a page has fewer pixels
FRAMES = 20  # of all sliders of a report together, which so stays below five megabytes


def write_report(
    verification: Verification,
    output: Path,
    *,
    forecasts: Sequence[Forecast] = (),
    truth: Fields | None = None,
    notes: Notes | None = None,
    case: int = 0,
) -> Path:
    """Write report.html, scores.nc, scores.json, table.parquet, table.csv, PNGs and a GIF into `output`.

    forecasts, truth: for pictures of fields, of one `case`; without them there are only scores. The first forecast that
    is no baseline is pictured.
    """
    output_folder(output)
    notes = notes or Notes()
    write_tables(verification, output)
    album = _Album(verification, output)
    if forecasts:
        _draw_fields(album, forecasts, truth, case)
    _draw_scores(album)
    _draw_physics(album)
    if notes.log is not None:
        caption = "Training loss over epochs; below, the error of validation rollouts, which chose the weights."
        album.add(score_curves.loss_curves(notes.log), "loss", "training", caption)
    album.pictures += [Image(path, caption, "more") for caption, path in notes.figures.items()]
    path = output / "report.html"
    write_text(path, page(verification, notes, album.pictures))
    return path


@dataclass
class _Album:
    """The pictures of a report in the order in which it shows them, and the folder where their files are."""

    verification: Verification
    folder: Path
    pictures: list[Image | Slider] = field(default_factory=list)

    def add(self, figure: Figure, name: str, section: str, caption: str) -> None:
        """Save a figure, and show it under a heading of the page with the values of its curves."""
        path = save(figure, self.folder / name)
        values = curve_values(figure)
        self.pictures.append(Image(path, caption, section, json.dumps(values, ensure_ascii=False) if values else ""))

    @property
    def bands(self) -> str:
        """Return the end of a caption: what the bands are, where there are any."""
        return f" Bands: {100 * self.verification.level:g} % intervals." if self.verification.has_intervals else ""


def curve_values(figure: Figure) -> list[dict[str, Any]]:
    """Return, panel by panel, where the axes lie and what the labelled curves are; the figure must have been drawn.

    box: left, top, right and bottom as shares of the figure. x: the ends of the axis, and whether it is logarithmic.
    """
    panels = []
    for axes in figure.axes:
        curves = []
        for line in axes.lines:
            x, y = np.asarray(line.get_xdata(), np.float64), np.asarray(line.get_ydata(), np.float64)
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            if str(line.get_label()).startswith("_") or not known.size:
                continue  # a reference line, say
            kept = known[np.unique(np.linspace(0, known.size - 1, MOST_POINTS).round().astype(int))]
            colour = line.get_color()
            curves.append({"label": line.get_label(), "colour": colour, "x": _short(x[kept]), "y": _short(y[kept])})
        if curves:
            box = axes.get_position()
            panels.append({
                "box": _short(np.array([box.x0, 1 - box.y1, box.x1, 1 - box.y0])),
                "x": _short(np.array(axes.get_xlim())),
                "logarithmic": axes.get_xscale() == "log",
                "axis": axes.get_xlabel() or figure.axes[-1].get_xlabel(),
                "curves": curves,
            })  # fmt: skip
    return panels


def _short(values: np.ndarray[Any, Any]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]  # the digits that a reader takes in


def _draw_scores(album: _Album) -> None:
    """Errors and skill against lead time; first, below the answer, the skill against the hardest baseline."""
    verification, best = album.verification, hardest_baseline(album.verification)
    if best is not None and len(verification.baselines) < len(verification.emulators):
        above = f"above zero the forecast is better.{album.bands}"
        caption = f"Skill, 1 - RMSE / RMSE of {best}, the best baseline; {above}"
        only = len(verification.baselines) == 1
        skill = score_curves.skill_curves(verification, [best])
        album.add(skill, "skill" if only else "skill_best", "opening", caption)
        if not only:
            caption = f"Skill, 1 - RMSE / RMSE of each baseline; {above}"
            album.add(score_curves.skill_curves(verification), "skill", "scores", caption)
    scored = {metric for emulator in verification.emulators for metric in emulator.metrics}
    for metric in shown_in("curve"):
        if metric in scored and (verification.about_zero.all() or not METRICS[metric].relative):
            caption = f"{sentence(METRICS[metric].title)} against lead time.{album.bands}"
            album.add(score_curves.metric_curves(verification, metric), metric, "scores", caption)
    if flow_plots.wind_emulators(verification):
        caption = "Left: error of the wind as a vector. Right: kinetic energy; below 1 the forecast is too smooth."
        album.add(flow_plots.wind_error_curves(verification), "wind", "scores", caption)


def _draw_physics(album: _Album) -> None:
    """Spectra, amplitude, and what is conserved."""
    verification, flows = album.verification, flow_plots.wind_emulators(album.verification)
    if flows:
        caption = (
            "Kinetic energy by degree, fitted to the nodes of truth and forecasts in the same way, mean over cases."
        )
        album.add(flow_plots.energy_spectrum_curves(verification), "kinetic_energy", "physics", caption)
    conserved = any(flow.available is not None for _, flow in flows)
    if conserved:
        album.add(flow_plots.conservation_curves(verification), "conservation", "physics", _CONSERVED)
    if verification.wavenumbers is not None and any(e.power is not None for e in verification.emulators):
        caption = "Power spectra of truth and forecasts at three lead times, mean over cases."
        wind = {name for _, flow in flows for name in flow.names}  # whose energy by degree is above
        if scalars := [name for name in verification.variables if name not in wind]:
            album.add(score_curves.spectrum_curves(verification, scalars), "spectra", "physics", caption)
    caption = "Spatial standard deviation of the forecast over the truth's: below 1 the forecast is too smooth."
    album.add(score_curves.metric_curves(verification, "amplitude_ratio"), "amplitude", "physics", caption)
    if not conserved:
        caption = "Change since the start of the area mean, and of the mean square of fields about zero."
        album.add(score_curves.drift_curves(verification), "drift", "physics", caption)


_CONSERVED = (
    "What shallow water conserves: mass, and energy but for the diffusion of the smallest scales. Available energy is "
    "h |v|²/2 + g (h - H)²/2. Both are area means over the nodes, which are not quite the integrals: hence the little "
    "mass that the truth seems to gain or lose."
)


def _draw_fields(album: _Album, forecasts: Sequence[Forecast], truth: Fields | None, case: int) -> None:
    """One case of the first emulator that is no baseline: fields and their error, a series, an animation."""
    verification = album.verification
    baselines = {verification[label].name for label in verification.baselines}
    main = next((forecast for forecast in forecasts if forecast.name not in baselines), forecasts[0])
    case, on_ring = min(case, len(main.init_time) - 1), main.mesh.domain.kind == "ring"
    chosen = _pictured(main, verification)
    animation = moving_picture(main, truth, verification.variables[0], case)
    for number, variable in enumerate(chosen):
        suffix = "" if len(verification.variables) == 1 else f"_{file_name(variable)}"
        section = "opening" if number == 0 else "fields"
        if on_ring:
            caption = f"Hovmöller diagram of {variable}: position along the ring against lead time."
            album.add(hovmoeller(main, truth, variable, case), f"hovmoeller{suffix}", section, caption)
        else:
            save(maps(main, truth, variable, case), album.folder / f"maps{suffix}")
            caption = f"Maps of {variable}, one case{_map_notes(main, case)}"
            moving = animation if variable == verification.variables[0] else moving_picture(main, truth, variable, case)
            places = moving.spread(max(FRAMES // len(chosen), 4))
            leads = [lead_name(main.time_step, int(main.lead_steps[place])) for place in places]
            frames = list(moving.frames(places, DPI))
            addresses = [webp_address(frame, quality=90, method=2) for frame in frames]
            shown = list(zip(leads, addresses, strict=True))
            album.pictures.append(Slider(shown, page_width(frames[0]), caption, section))
    styles = {scores.name: styles_of(verification)[scores.label] for scores in verification.emulators}
    beside = [forecast for forecast in forecasts if _same_case(forecast, main, case)]
    album.add(series(beside, truth, case, styles), "series", "fields", "One place along one forecast.")
    path = animation.write_gif(album.folder / "animation.gif")
    if on_ring:
        album.pictures.append(Image(path, f"{verification.variables[0]} of one case, lead by lead.", "fields"))


def _pictured(forecast: Forecast, verification: Verification) -> list[str]:
    """Return the first variables; of a wind on the whole sphere, whose arrows lie on the maps, its vorticity."""
    names = list(verification.variables)
    pairs = winds(forecast.variables, forecast.units) if verification.emulators[0].flow is not None else []
    components = {forecast.variables[column] for pair in pairs[:1] for column in pair}
    if not components or not components <= set(names):
        return names[:4]
    return [*[name for name in names if name not in components][:3], "vorticity"]


def _map_notes(forecast: Forecast, case: int) -> str:
    """Return the end of a map's caption: what its arrows are, and whose coasts."""
    sphere = forecast.mesh.domain.kind == "sphere"
    wind = sphere and winds(forecast.variables, forecast.units)
    arrows = "; arrows: wind, and on the right its error" if wind else ""
    projection = " Equal Earth projection." if sphere else ""
    return f"{arrows}.{projection}{'' if forecast.trajectory[case] >= 0 else ' ' + ATTRIBUTION}"


def _same_case(forecast: Forecast, main: Forecast, case: int) -> bool:
    return (
        len(forecast.init_time) > case
        and forecast.init_time[case] == main.init_time[case]
        and forecast.trajectory[case] == main.trajectory[case]
    )
