"""The report: one HTML file that stands alone, with the pictures, tables and data files beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from inference.pictures import field_pictures as pictures
from inference.pictures import flow_plots, plots
from inference.pictures.coastlines import ATTRIBUTION
from inference.report.page import Image, Notes, page
from inference.report.score_tables import sentence, table_leads
from inference.scores.flow import winds
from inference.scores.metrics import METRICS, shown_in
from inference.scores.scorecard import Verification
from inference.scores.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Notes", "sentence", "table_leads", "write_report"]


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
    output.mkdir(parents=True, exist_ok=True)
    notes = notes or Notes()
    write_tables(verification, output)
    images = _draw(verification, output, forecasts, truth, notes, case)
    path = output / "report.html"
    path.write_text(page(verification, notes, images), encoding="utf-8")
    return path


def _draw(
    verification: Verification,
    output: Path,
    forecasts: Sequence[Forecast],
    truth: Fields | None,
    notes: Notes,
    case: int,
) -> list[Image]:
    """All pictures that these scores and fields allow, in the order the report shows them."""
    images: list[Image] = []

    def draw(name: str, section: str, caption: str, figure: Callable[[], Figure]) -> None:
        images.append(Image(plots.save(figure(), output / name), caption, section))

    held = {metric for emulator in verification.emulators for metric in emulator.metrics}
    band = "" if not verification.has_intervals else f" Bands: {100 * verification.level:g} % intervals."
    for metric in shown_in("curve"):
        if metric in held and (verification.about_zero.all() or not METRICS[metric].relative):
            caption = f"{sentence(METRICS[metric].title)} against lead time.{band}"
            draw(metric, "scores", caption, partial(plots.metric_curves, verification, metric))
    if verification.baselines and len(verification.baselines) < len(verification.emulators):
        caption = f"Skill, 1 - RMSE / RMSE of each baseline; above zero the emulator is better.{band}"
        draw("skill", "scores", caption, lambda: plots.skill_curves(verification))
    if flows := flow_plots.wind_emulators(verification):
        caption = "Left: error of the wind as a vector. Right: kinetic energy; below 1 the forecast is too smooth."
        draw("wind", "scores", caption, lambda: flow_plots.wind_error_curves(verification))
    if notes.log is not None:
        draw(
            "loss",
            "training",
            "Training loss over epochs; below, the error of validation rollouts, by which the weights were chosen.",
            lambda: plots.loss_curves(notes.log or Path()),
        )
    if flows:
        caption = (
            "Kinetic energy by degree, fitted to the nodes of truth and forecasts in the same way, mean over cases."
        )
        draw("kinetic_energy", "physics", caption, lambda: flow_plots.energy_spectrum_curves(verification))
    if any(flow.available is not None for _, flow in flows):
        draw("conservation", "physics", _CONSERVED, lambda: flow_plots.conservation_curves(verification))
    if verification.wavenumbers is not None and any(e.power is not None for e in verification.emulators):
        caption = "Power spectra of truth and forecasts at three lead times, mean over cases."
        wind = {name for _, flow in flows for name in flow.names}  # whose energy by degree is above
        scalars = [name for name in verification.variables if name not in wind]
        if scalars:
            draw("spectra", "physics", caption, lambda: plots.spectrum_curves(verification, variables=scalars))
    draw("amplitude", "physics", _AMPLITUDE, lambda: plots.metric_curves(verification, "amplitude_ratio"))
    if not any(flow.available is not None for _, flow in flows):
        caption = "Change since the start of the area mean, and of the mean square of fields about zero."
        draw("drift", "physics", caption, lambda: plots.drift_curves(verification))
    if forecasts:
        _draw_fields(verification, output, forecasts, truth, case, draw, images)
    images += [Image(path, caption, "more") for caption, path in notes.figures.items()]
    return images


_CONSERVED = (
    "What shallow water conserves: mass, and energy but for the diffusion of the smallest scales. Available energy is "
    "h |v|²/2 + g (h - H)²/2. Both are area means over the nodes, which are not quite the integrals: hence the little "
    "mass that the truth seems to gain or lose."
)
_AMPLITUDE = "Spatial standard deviation of the forecast over the truth's: below 1 the forecast is too smooth."


def _draw_fields(
    verification: Verification,
    output: Path,
    forecasts: Sequence[Forecast],
    truth: Fields | None,
    case: int,
    draw: Callable[[str, str, str, Callable[[], Figure]], None],
    images: list[Image],
) -> None:
    """One case of the first emulator that is no baseline: fields and their error, a series, an animation."""
    own = [f for f in forecasts if f.name not in {verification[label].name for label in verification.baselines}]
    main = own[0] if own else forecasts[0]
    case = min(case, len(main.init_time) - 1)
    for variable in _pictured(main, verification):
        suffix = "" if len(verification.variables) == 1 else f"_{variable}"
        if main.mesh.domain.kind == "ring":
            caption = f"Hovmöller diagram of {variable}: position along the ring against lead time."
            draw(f"hovmoeller{suffix}", "fields", caption, partial(pictures.hovmoeller, main, truth, variable, case))
        else:
            caption = f"{sentence(variable)} of one case at three lead times{_map_notes(main, case)}"
            draw(f"maps{suffix}", "fields", caption, partial(pictures.maps, main, truth, variable, case))
    styles = {scores.name: plots.styles_of(verification)[scores.label] for scores in verification.emulators}
    beside = [f for f in forecasts if _same_case(f, main, case)]
    draw(
        "series",
        "fields",
        "One place along one forecast.",
        lambda: pictures.series(beside, truth, None, case, None, styles),
    )
    path = pictures.animation(main, output / "animation.gif", truth, verification.variables[0], case)
    images.append(Image(path, f"{verification.variables[0]} of one case, lead by lead.", "fields"))


def _pictured(forecast: Forecast, verification: Verification) -> list[str]:
    """The first variables; of a wind on the whole sphere, whose arrows lie on the maps, its vorticity."""
    names = list(verification.variables)
    pairs = winds(forecast.variables, forecast.units) if verification.emulators[0].flow is not None else []
    parts = [{forecast.variables[column] for column in pair} for pair in pairs[:1]]
    if not parts or not parts[0] <= set(names):
        return names[:4]
    return [*[name for name in names if name not in parts[0]][:3], "vorticity"]


def _map_notes(forecast: Forecast, case: int) -> str:
    """The end of a map's caption: what its arrows are, and whose coasts."""
    sphere = forecast.mesh.domain.kind == "sphere"
    arrows = (
        "; arrows: wind, and on the right its error" if sphere and winds(forecast.variables, forecast.units) else ""
    )
    projection = " Equal Earth projection." if sphere else ""
    return f"{arrows}.{projection}{'' if forecast.trajectory[case] >= 0 else ' ' + ATTRIBUTION}"


def _same_case(forecast: Forecast, main: Forecast, case: int) -> bool:
    """Whether a forecast's case of this number is the one pictured."""
    return (
        len(forecast.init_time) > case
        and forecast.init_time[case] == main.init_time[case]
        and forecast.trajectory[case] == main.trajectory[case]
    )
