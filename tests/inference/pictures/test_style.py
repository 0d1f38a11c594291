"""One style for all pictures: units as they are printed, lead times in words, lines that are told apart."""

import resource
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.text import Text

from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from inference.pictures.style import journal, lead_axis, lead_name, legend, line_styles, new_figure, plain_decades, save
from inference.pictures.style import pretty_unit as pretty


def test_units_are_printed_with_superscripts_and_numbers_stay() -> None:
    assert [pretty(unit) for unit in ("m s-1", "W m**-2", "kg m^-3", "K")] == ["m s⁻¹", "W m⁻²", "kg m⁻³", "K"]
    assert pretty("10⁻⁵ s-1") == "10⁻⁵ s⁻¹"


def test_a_lead_time_is_named_in_its_unit() -> None:
    assert lead_name(TimeStep.parse("6h"), 1) == "6 hours" and lead_name(TimeStep.parse("1h"), 1) == "1 hour"
    assert lead_name(TimeStep.parse("1 month"), 3) == "3 months"
    assert lead_name(TimeStep(1, "second", 0.5), 5) == "lead time 2.5"


def test_ticks_of_hours_divide_the_day() -> None:
    figure, ((axes,),) = new_figure(1, 1)
    axes.plot([0, 48], [0, 1])
    lead_axis(axes, TimeStep.parse("1h"), np.arange(1, 49))
    steps = np.diff(axes.get_xticks())
    assert axes.get_xlabel() == "lead time [hours]" and axes.get_xlim()[0] == 0
    assert (steps == 6).all() and figure.get_dpi() == 150


def test_a_short_logarithmic_axis_shows_plain_numbers() -> None:
    figure, ((axes,),) = new_figure(1, 1)
    axes.set_yscale("log")
    axes.set_ylim(0.02, 3.0)
    plain_decades(axes)
    figure.draw_without_rendering()
    shown = {text.get_text() for text in axes.get_yticklabels()}
    assert {"0.05", "0.1", "2"} <= shown


@pytest.mark.parametrize("name", ["$\\frac{$", "cost in $ of $", r"a \$ b", "$x^2$"])
def test_a_name_is_drawn_as_it_is_written_and_never_as_a_formula(name: str) -> None:
    with journal():
        figure, ((axes,),) = new_figure(1, 1)
        axes.plot([1, 2], [1e-9, 1.0], label=name)
        axes.set(title=name, xlabel=name, yscale="log", xticks=[1, 2], xticklabels=[name, "b"])
        legend(figure, axes)
        figure.draw_without_rendering()
    texts = {text.get_text(): text for text in figure.findobj(Text)}
    assert not texts[name].get_parse_math() and texts[name]._preprocess_math(name) == (name, False)
    powers = [text for text in axes.get_yticklabels() if text.get_text()]
    assert powers and all("10^" in text.get_text() and text.get_parse_math() for text in powers)


def test_solvers_darken_with_their_truncation_and_baselines_are_dashed() -> None:
    styles = line_styles(["GNN", "T5", "T20", "persistence"], ["persistence"], ["T5", "T20"])
    assert len({style.color for style in styles.values()}) == 4
    brightness = [int(styles[name].color[1:3], 16) for name in ("T5", "T20")]
    assert brightness[0] > brightness[1] and styles["persistence"].linestyle != "-" == styles["GNN"].linestyle


def test_the_users_own_settings_come_back_and_legends_stand_below() -> None:
    before = rcParams["font.size"]
    with journal():
        assert rcParams["font.size"] == 9 != before
        figure, ((axes,),) = new_figure(1, 1)
        axes.plot([0, 1], label="GNN")
        legend(figure, axes)
    assert rcParams["font.size"] == pytest.approx(before)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GNN"] and axes.get_legend() is None


@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_figure_that_finds_no_room_is_refused_and_leaves_no_part(tmp_path: Path, limit: int) -> None:
    """The PNG takes some 60,000 bytes, the PDF 300,000; matplotlib's writer of PDF would end in an AttributeError."""
    figure, ((axes,),) = new_figure(1, 1)
    for _ in range(20):
        axes.plot(np.random.default_rng(0).standard_normal(2000), linewidth=0.01)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(MeshcastError, match="No room left"):
            save(figure, tmp_path / "figure", vector=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == (["figure.png"] if limit else [])
