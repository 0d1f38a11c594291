"""Pathways by name, by levers, and between others; and what FaIR makes of emissions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.foundation.time_step import to_seconds
from emulator.pathways.fair_model import run_fair
from emulator.pathways.levers import Levers, emissions_by
from emulator.pathways.named import read_pathway
from emulator.pathways.pathway import AGENTS, TOTAL
from emulator.pathways.radiative_forcing import CO2_DOUBLING, of_gases
from emulator.pathways.shipped import emission_names, emissions_of, forcing_names, forcing_of, parameter_sets
from graphs.errors import MeshcastError


def test_pathways_by_name_are_those_of_the_assessment() -> None:
    """Of 2019, AR6 WG1 table 7.8: 2.16, .54 and .21 W m-2 of CO2, methane and N2O, 2.72 of all that people do."""
    assert {"ssp119", "ssp126", "ssp245", "ssp370", "ssp534-over", "ssp585"} == set(forcing_names())
    pathway = read_pathway("ssp245")
    assert pathway.years[0] == 1750 and pathway.years[-1] == 2500
    of_2019 = dict(zip(AGENTS, pathway.forcing[0, 2019 - 1750], strict=True))
    assert of_2019["co2"] == pytest.approx(2.16, abs=0.05)
    assert of_2019["ch4"] == pytest.approx(0.54, abs=0.05)
    assert of_2019["n2o"] == pytest.approx(0.21, abs=0.02)
    human = sum(value for agent, value in of_2019.items() if agent not in ("solar", "volcanic"))
    assert human == pytest.approx(2.72, abs=0.1)


def test_the_shipped_forcing_is_that_of_the_published_files(data_folder: Path) -> None:
    import pandas as pd

    for name in forcing_names():
        published = pd.read_csv(data_folder / f"ssp/ERF_{name}_1750-2500.csv")
        assert np.abs(forcing_of(name).total[0] - published["total"].to_numpy()).max() < 3e-4


def test_a_pathway_between_two_is_their_mean() -> None:
    low, high = read_pathway("ssp126"), read_pathway("ssp585")
    mean = read_pathway("0.25*ssp126 + 0.75*ssp585")
    assert np.allclose(mean.forcing, 0.25 * low.forcing + 0.75 * high.forcing)


def test_a_pathway_is_a_table_of_forcings() -> None:
    """A year's mean stands for its middle; before and after the last middle it goes on as it is."""
    pathway = read_pathway("ssp126", 2020)
    table = pathway.table()
    assert table.names == (TOTAL, *AGENTS)
    moments = to_seconds(np.array(["1750-01-01", "2000-07-02", "2021-01-01"], "datetime64[s]"))
    values = table.at(moments)[:, 0]
    assert np.allclose(values[:, 0], pathway.total[0, [0, 250, -1]], atol=1e-3)
    assert np.allclose(values[:, 1:], pathway.forcing[0, [0, 250, -1]], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssp12", "no pathway named 'ssp12'; did you mean ssp126"),
        ("", "no pathway named ''"),
        ("missing.csv", "Cannot read the pathway missing.csv"),
        ("0.3*ssp126+0.8*ssp245", "must be positive and sum to 1"),
        ("0.3*ssp126+ssp245", "not understood at 'ssp245'"),
        ("1.5.2*ssp126", "not understood"),
        ("lo:peak=2030", "Levers act on one of .*did you mean low"),
        ("low:peek=2030", "no lever, .*did you mean peak"),
        ("low:peak=soon", "peak=soon is not understood"),
        ("low:peak=2030:peak=2040", "peak is given twice"),
        ("low:peak=2010", "cannot peak before 2022"),
        ("low:peak=2050:net-zero=2040", "nor be net zero before they peak"),
        ("low:methane=0.4", "methane=0.4 is not understood"),
        ("low:methane=-140%", "by more than 100 %"),
    ],
)  # fmt: skip
def test_what_names_no_pathway_is_refused(text: str, words: str) -> None:
    with pytest.raises(MeshcastError, match=words):
        read_pathway(text)


def test_years_out_of_range_are_refused() -> None:
    with pytest.raises(MeshcastError, match="from 1750 to 2500"):
        read_pathway("ssp126", 2600)
    with pytest.raises(MeshcastError, match="reaches from 1750 to 2100, but 2000 to 2150"):
        read_pathway("ssp126", 2100).between(2000, 2150)
    pathway = read_pathway("ssp126", 1760)
    holed = pathway.forcing.copy()
    holed[0, 3, 2] = np.nan
    with pytest.raises(MeshcastError, match="no forcing of n2o in 1753"):
        replace(pathway, forcing=holed)


def test_levers_move_what_they_name_alone() -> None:
    years, plain, _ = emissions_of("medium-extension")
    _, moved, notes = emissions_by(Levers(peak=2030, net_zero=2060, methane=-0.5), "medium-extension")
    co2 = moved["CO2 FFI"] + moved["CO2 AFOLU"]
    known = years <= 2022
    assert np.array_equal(co2[known], (plain["CO2 FFI"] + plain["CO2 AFOLU"])[known])
    assert years[np.argmax(co2)] == 2030
    assert np.allclose(co2[years >= 2060], 0)
    falling = co2[(years >= 2030) & (years <= 2060)]
    assert np.allclose(np.diff(falling), -falling[0] / 30)
    assert moved["CH4"][years == 2050] == pytest.approx(plain["CH4"][years == 2022] / 2)
    assert all(
        np.array_equal(moved[name], plain[name]) for name in plain if name not in ("CO2 FFI", "CO2 AFOLU", "CH4")
    )
    assert "medium-extension" in notes[0]


def test_fair_turns_emissions_into_forcing_and_warming() -> None:
    """Beside what its authors give for these emissions: 1.0 to 1.3 K and 410 to 414 ppm around 2020."""
    pytest.importorskip("fair")
    assert len(parameter_sets()) == 841 and len(emission_names()) == 7
    years, emissions, _ = emissions_of("low")
    kept = years <= 2050
    run = run_fair("low", years[kept], {name: values[kept] for name, values in emissions.items()}, sets=21)
    assert run.pathway.forcing.shape == (21, 301, len(AGENTS))
    now = years[kept] == 2020
    assert 411 < np.median(run.co2[:, now]) < 415
    warming = run.warming - run.warming[:, (years[kept] >= 1850) & (years[kept] <= 1900)].mean(axis=1, keepdims=True)
    assert 1.0 < np.median(warming[:, now]) < 1.4
    human = run.pathway.total - run.pathway.forcing[..., [AGENTS.index("volcanic"), AGENTS.index("solar")]].sum(axis=2)
    assert human[:, now].mean() == pytest.approx(2.72, abs=0.3)
    assert run.pathway.total[:, -1].std() > 0.1


def test_less_emitted_forces_less() -> None:
    pytest.importorskip("fair")
    both = "medium-extension:net-zero=2050"
    totals = [
        read_pathway(text, 2060, sets=5).total.mean(axis=0)
        for text in ("medium-extension", both, f"{both}:methane=-50%")
    ]
    assert np.allclose(totals[0][:272], totals[2][:272])
    assert totals[0][-1] - totals[1][-1] > 0.5
    assert 0.2 < totals[1][-1] - totals[2][-1] < 0.6


def test_earlier_scenarios_are_their_concentrations() -> None:
    high, low = read_pathway("a1b"), read_pathway("rcp26", 2090)
    assert (high.years[-1], low.years[-1]) == (2100, 2090)
    co2 = [one.forcing[0, 2090 - 1750, AGENTS.index("co2")] for one in (high, low)]
    assert co2[0] == pytest.approx(5.35 * np.log(685 / 278), rel=0.1)  # Myhre et al. 1998, beside Meinshausen's
    assert co2[1] == pytest.approx(5.35 * np.log(426 / 278), rel=0.1)
    assert "Third Assessment" in high.source and "files" not in high.source
    assert any("1750 to 2009 as in ssp245" in note for note in high.notes)
    with pytest.raises(MeshcastError, match="did you mean rcp26"):
        read_pathway("rcp62")


def test_twice_the_co2_by_three_laws() -> None:
    """5.35 ln 2 W m-2 (Myhre et al. 1998), Meinshausen et al. 2020 with AR6's adjustment, FaIR's ensemble about it."""
    once = {"co2": np.array([278.3]), "ch4": np.array([729.2]), "n2o": np.array([270.1])}
    doubled = float(of_gases(2 * once["co2"], once["ch4"], once["n2o"])["co2"][0])
    assert pytest.approx(5.35 * np.log(2)) == CO2_DOUBLING
    assert doubled == pytest.approx(3.93, abs=0.01)  # AR6 WG1 7.3.2.1
    of_fair = parameter_sets()["forcing_4co2"] / 2  # half of what four times as much forces
    assert of_fair.mean() == pytest.approx(3.91, abs=0.02) and 0.2 < of_fair.std() < 0.6
