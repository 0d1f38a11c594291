"""Pathways given as tables: emissions, concentrations and forcing, whole, half and wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emulator.pathways.named import read_pathway
from emulator.pathways.pathway import AGENTS, Pathway
from emulator.pathways.pathway_file import read_table
from emulator.pathways.radiative_forcing import of_gases
from emulator.pathways.shipped import emissions_of, forcing_of
from graphs.errors import MeshcastError

YEARS = np.arange(2000, 2051)


def written(path: Path, columns: dict[str, object], years: object = YEARS) -> Path:
    names = ",".join(["year", *columns])
    rows = [",".join(map(str, row)) for row in zip(years, *columns.values(), strict=True)]  # type: ignore[call-overload]
    path.write_text("\n".join([names, *rows]) + "\n")
    return path


def of(pathway: Pathway, agent: str) -> np.ndarray:
    return pathway.forcing[0, :, AGENTS.index(agent)]


def test_concentrations_force_by_the_formula_and_the_rest_is_as_in_the_base(tmp_path: Path) -> None:
    co2, methane = np.linspace(370, 500, 51), np.linspace(1.8, 1.9, 51)
    path = written(tmp_path / "mine.csv", {"CO2 [ppm]": co2, "methane (ppm)": methane})
    pathway, base = read_pathway(str(path), 2050), forcing_of("ssp245").between(1750, 2050)
    expected = of_gases(co2, 1000 * methane, np.full(51, 270.1))
    assert np.allclose(of(pathway, "co2")[250:], expected["co2"])
    assert np.allclose(of(pathway, "ch4")[250:], expected["ch4"])
    assert np.array_equal(of(pathway, "n2o"), of(base, "n2o"))
    assert np.array_equal(pathway.forcing[:, :250], base.forcing[:, :250])
    assert any("as in ssp245" in note and "n2o" in note for note in pathway.notes)
    assert any("1750 to 1999 as in ssp245" in note for note in pathway.notes)


def test_a_total_forcing_is_the_sum_of_agents(tmp_path: Path) -> None:
    total = np.linspace(2.0, 4.0, 51)
    pathway = read_pathway(str(written(tmp_path / "total.csv", {"total [W m-2]": total})), 2050)
    assert np.allclose(pathway.total[0, 250:], total)
    agents = read_pathway(
        str(written(tmp_path / "agents.csv", {"co2 [W/m2]": total, "solar [W m-2]": 0 * total})), 2050
    )
    assert np.allclose(of(agents, "co2")[250:], total)
    assert np.allclose(of(agents, "solar")[250:], 0)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Gt CO2/yr", 1.0),
        ("GtC/yr", 44.009 / 12.011),
        ("Pg C yr-1", 44.009 / 12.011),
        ("Mt CO2/yr", 1e-3),
        ("Tg CO2/a", 1e-3),
    ],
)
def test_units_of_emissions_are_converted(tmp_path: Path, unit: str, factor: float) -> None:
    table = read_table(written(tmp_path / "mine.csv", {f"CO2 [{unit}]": np.full(51, 10.0)}))
    assert np.allclose(table.columns["CO2"], 10 * factor)


@pytest.mark.parametrize(
    ("column", "name", "value"),
    [
        ("N2O [Tg N/yr]", "N2O", 44.013 / 28.014),
        ("so2 [Gg S/yr]", "Sulfur", 1e-3 * 64.064 / 32.06),
        ("nox [Mt N/yr]", "NOx", 46.006 / 14.007),
        ("BC [Mt BC/yr]", "BC", 1.0),
        ("HFC-125 [t HFC125/yr]", "HFC-125", 1e-3),
        ("co2 land [GtC/yr]", "CO2 AFOLU", 44.009 / 12.011),
    ],
)
def test_each_mass_is_counted_by_the_mole(tmp_path: Path, column: str, name: str, value: float) -> None:
    assert np.allclose(read_table(written(tmp_path / "mine.csv", {column: np.ones(51)})).columns[name], value)


def test_a_table_of_the_iamc_is_read(tmp_path: Path) -> None:
    years, emissions, units = emissions_of("low")
    rows = [
        ",".join(["m", "s", "World", f"Emissions|{name}", units[name], *map(str, emissions[name])])
        for name in ("CH4", "N2O")
    ]
    path = tmp_path / "iamc.csv"
    path.write_text("\n".join([",".join(["Model", "Scenario", "Region", "Variable", "Unit", *map(str, years)]), *rows]))
    table = read_table(path)
    assert table.kind == "emissions" and np.array_equal(table.years, years)
    assert np.array_equal(table.columns["CH4"], emissions["CH4"])
    path.write_text(path.read_text().replace("s,World,Emissions|N2O", "t,World,Emissions|N2O"))
    with pytest.raises(MeshcastError, match="several of scenario: s, t"):
        read_table(path)


@pytest.mark.parametrize(
    ("columns", "years", "words"),
    [
        ({"co2 [ppm]": 400.0}, np.delete(YEARS, 20), "has a gap: 2019 is followed by 2021"),
        ({"co2 [ppm]": 400.0}, np.sort(np.append(YEARS, 2020)), "the year 2020 twice"),
        ({"co2 [ppm]": 400.0}, YEARS[::-1], "must increase"),
        ({"co2 [ppm]": 400.0}, YEARS - 300, "between 1750 and 2500"),
        ({"co2 [ppm]": -1.0}, YEARS, "concentration of co2 is -1 in 2000"),
        ({"co2 [ppm]": np.nan}, YEARS, "no co2 in 2000"),
        ({"co2 [ppm]": "much"}, YEARS, "text where numbers"),
        ({"co2": 400.0}, YEARS, "has no unit"),
        ({"co2 [inches]": 400.0}, YEARS, "is in inches, expected W m-2"),
        ({"CO2 [Gt/yr]": 40.0}, YEARS, "does not say of what its mass is"),
        ({"CO2 [Gt N/yr]": 40.0}, YEARS, "counted in N, expected CO2 or C"),
        ({"CH5 [Mt C/yr]": 40.0}, YEARS, "no species that is known; did you mean CH4"),
        ({"ch4 [Mt CH4/yr]": -3.0}, YEARS, "only CO2 can be removed"),
        ({"co2 [ppm]": 400.0, "ch4 [Mt CH4/yr]": 300.0}, YEARS, "mixes concentration \\(co2\\), emissions \\(CH4\\)"),
        ({"co2 [ppm]": 400.0, "CO2 [ppm]": 400.0}, YEARS, "co2 twice"),
        ({"sf6 [ppt]": 4.0}, YEARS, "read of co2, ch4, n2o"),
        ({"aerosols [W m-2]": 4.0}, YEARS, "no agent of forcing"),
        ({"total [W m-2]": 4.0, "co2 [W m-2]": 4.0}, YEARS, "Give either the total or agents"),
        ({}, YEARS, "gives years only"),
    ],
)  # fmt: skip
def test_what_is_no_pathway_is_refused(
    tmp_path: Path, columns: dict[str, object], years: np.ndarray, words: str
) -> None:
    path = written(tmp_path / "mine.csv", {name: [value] * len(years) for name, value in columns.items()}, years)
    with pytest.raises(MeshcastError, match=words):
        read_pathway(str(path), 2050)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    texts = {
        "": "Cannot read",
        "a,b\n1,2\n": "has the columns a, b, expected",
        "year,co2 [ppm]\n2000,400\n": "two at least",
        "year,co2 [ppm]\nx,400\ny,400\n": "expected years",
        "year,co2 [ppm]\n2000.5,400\n2001.5,400\n": "whole years",
    }
    for text, words in texts.items():
        (tmp_path / "mine.csv").write_text(text)
        with pytest.raises(MeshcastError, match=words):
            read_pathway(str(tmp_path / "mine.csv"))
    short = str(written(tmp_path / "short.csv", {"co2 [ppm]": np.full(51, 400.0)}))
    assert read_pathway(short).years[-1] == 2050
    with pytest.raises(MeshcastError, match=r"ends in 2050, but 2100 is needed"):
        read_pathway(short, 2100)


def test_jumps_are_said(tmp_path: Path) -> None:
    smooth = np.linspace(370, 500, 51)
    jumping = smooth + 80 * (YEARS >= 2030)
    notes = {name: read_pathway(str(written(tmp_path / f"{name}.csv", {"co2 [ppm]": values})), 2050).notes
             for name, values in {"smooth": smooth, "jumping": jumping, "apart": smooth + 200}.items()}  # fmt: skip
    assert not any("jump" in note for note in notes["smooth"])
    assert any("co2 jumps from 445.4 in 2029 to 528 in 2030" in note for note in notes["jumping"])
    assert any("the forcing jumps by +2." in note and "in 2000" in note for note in notes["apart"])
