"""What a system still knows of its forcing: closed forms, times between, trajectories, training and forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emulator.data.forcing_sources import forcings_of
from emulator.forcing_memory import remembered
from emulator.foundation.time_step import YEAR, TimeStep
from emulator.global_scalars import GlobalScalars
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from tests.emulator.worlds import weather_fields

TAU = 30.0
YEARS = np.arange(0, 201)
TIMES = (YEARS * YEAR).astype(np.int64)


def over(years: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return remembered((years * YEAR).astype(np.int64), values, TAU * YEAR, (at * YEAR).astype(np.int64))


def test_a_step_and_a_ramp_are_remembered_as_they_should() -> None:
    ramp = over(YEARS, 0.05 * YEARS, np.arange(200) + 0.3)
    years = np.arange(200) + 0.3
    assert np.allclose(ramp, 0.05 * (years - TAU * (1 - np.exp(-years / TAU))), atol=1e-9)
    step = over(np.array([0.0, 1e-6, 200.0]), np.array([0.0, 4.0, 4.0]), years)
    assert np.allclose(step, 4 * (1 - np.exp(-years / TAU)), atol=1e-6)
    assert np.array_equal(over(YEARS, np.full(201, 2.5), years), np.full(200, 2.5))


def test_how_often_a_forcing_is_given_makes_no_difference() -> None:
    sparse, dense = YEARS[::25], np.linspace(0, 200, 4001)
    values = np.sin(sparse / 20)
    at = np.linspace(0, 200, 333)
    assert np.allclose(over(sparse, values, at), over(dense, np.interp(dense, sparse, values), at), atol=1e-9)
    both = over(sparse, np.stack([values, 2 * values], axis=1), at)
    assert np.allclose(both[:, 1], 2 * both[:, 0])


def task(memory: tuple[str, float] = ("erf", TAU)) -> Task:
    forcing = (Variable("erf", "forcing"), Variable("slow", "forcing", memory=memory))
    return Task((Variable("t", "prognostic"), *forcing), TimeStep(12, "month"))


def test_each_trajectory_remembers_its_own() -> None:
    fields = weather_fields(4)
    scalars = GlobalScalars(
        ("erf",), ("W m-2",), TIMES, (3, 8), np.stack([0.05 * YEARS, 0 * YEARS + 1.0], axis=1)[..., None]
    )
    forcings = forcings_of(task(), fields.mesh, replace(fields, scalars=scalars))
    found = forcings.at(TIMES[[100, 100, 7]], ("slow", "erf"), fields.mesh.num_nodes, trajectory=np.array([3, 8, 3]))
    expected = [0.05 * (years - TAU * (1 - np.exp(-years / TAU))) for years in (100, 7)]
    assert np.allclose(found[:, 0, 0], [expected[0], 1.0, expected[1]], atol=1e-6)
    assert np.allclose(found[:, 0, 1], [5.0, 1.0, 0.35], atol=1e-6)
    assert [source.trajectories for source in forcings.of_trajectories(("slow",))] == [(3, 8)]
    assert forcings.of_trajectories(("other",)) == []


def test_a_table_goes_before_the_scalars_and_serves_all(tmp_path) -> None:
    fields = weather_fields(4)
    scalars = GlobalScalars(("erf",), ("W m-2",), TIMES, (3, 8), np.zeros((201, 2, 1)) + np.array([[[1.0], [2.0]]]))
    path = tmp_path / "forcing.csv"
    path.write_text("year,erf\n1970,4\n2100,4\n")
    forcings = forcings_of(task(), fields.mesh, replace(fields, scalars=scalars), [path])
    found = forcings.at(TIMES[[10, 20]], ("slow", "erf"), fields.mesh.num_nodes, trajectory=np.array([3, 8]))
    assert np.allclose(found, 4.0)
    assert forcings.of_trajectories(("slow", "erf")) == []


def test_a_memory_of_what_is_not_there_is_refused() -> None:
    fields = weather_fields(4)
    with pytest.raises(MeshcastError, match="slow remembers erf over 30 years, but neither a table"):
        forcings_of(task(), fields.mesh, fields)
    scalars = GlobalScalars(("erf",), ("W m-2",), TIMES, (0,), np.zeros((201, 1, 1)))
    forcings = forcings_of(task(), fields.mesh, replace(fields, scalars=scalars))
    with pytest.raises(MeshcastError, match="cover 1970"):
        forcings.at(TIMES[[-1]] + 10**8, ("slow",), fields.mesh.num_nodes)


@pytest.mark.parametrize("years", [0.0, -3.0, float("inf"), float("nan")])
def test_a_memory_lasts_some_years(years: float) -> None:
    with pytest.raises(MeshcastError, match="its years are positive"):
        task(("erf", years))
    with pytest.raises(MeshcastError, match="a memory is a forcing"):
        Variable("t", "prognostic", memory=("erf", 3.0))


def test_what_must_be_given_is_what_is_remembered() -> None:
    assert task().given_forcing == ("erf",)
    alone = Task((Variable("t", "prognostic"), Variable("slow", "forcing", memory=("erf", 3.0))), TimeStep(12, "month"))
    assert alone.given_forcing == ("erf",)
