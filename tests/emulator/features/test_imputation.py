"""What stands for missing values: the mean, a number, or the nearest place that has one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.build import TrainedEmulator, load_emulator, save_emulator
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig, build_inputs
from emulator.features.inputs import nearest_with_value
from emulator.forcings import Forcings, GivenForcings
from emulator.foundation.scaling import Imputation, Sqrt
from emulator.networks.gnn import GNNConfig
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.worlds import HOUR, SMALL, fitted, starting_from, weather_fields

LAND = np.arange(24) % 6 >= 4  # where sst is missing, on 4 rows of 6 columns


def task(given: Imputation, transform: Sqrt | None = None) -> Task:
    sst = Variable("sst", "prognostic", "K", imputation=given, transform=transform)
    return Task((Variable("2t", "prognostic", "K"), sst), HOUR, history=2)


def seen(given: Imputation, transform: Sqrt | None = None) -> tuple[torch.Tensor, ArrayFields]:
    """Return the features of sst now, [node], and the fields."""
    fields = weather_fields()
    inputs = build_inputs(None, task(given, transform), fields.mesh)
    inputs.take(TrainingPart(fields))
    features = inputs.fields(starting_from(fields, inputs.task, [0]))[0, :, 3]
    return features * inputs.std[1] + inputs.mean[1], fields


def test_the_mean_stands_for_what_is_missing_unless_something_else_is_asked_for():
    values, fields = seen("mean")
    sst = fields.values[..., 1].astype(np.float64)
    np.testing.assert_allclose(values[LAND], np.nanmean(sst), rtol=1e-9)
    np.testing.assert_allclose(values[~LAND], sst[1, 0, ~LAND], rtol=1e-9)


@pytest.mark.parametrize("normaliser", ["max", "min_max", "robust", "unscaled"])
def test_the_mean_is_the_mean_whatever_normalises_the_variable(normaliser):
    fields = weather_fields()
    sst = Variable("sst", "prognostic", "K", normaliser=normaliser)
    forced = Variable("cos_local_time", "forcing", normaliser=normaliser)
    asked = Task((Variable("2t", "prognostic", "K"), sst, forced), HOUR)
    inputs = build_inputs(None, asked, fields.mesh).double()
    inputs.take(TrainingPart(fields))
    seen = inputs.fields(starting_from(fields, asked, [0]))[0, :, 1]
    mean = np.nanmean(fields.values[..., 1].astype(np.float64))
    np.testing.assert_allclose((seen * inputs.std[1] + inputs.mean[1])[LAND], mean, rtol=1e-6)
    missing = torch.full((1, 2, 24, 1), torch.nan)
    given = inputs.own(missing, 1)[0, :, 0] * inputs.forcing_std[0] + inputs.forcing_mean[0]
    np.testing.assert_allclose(given, given[0].expand(24), atol=1e-12)
    assert abs(float(given[0])) < 0.3  # of a cosine over sixty hours


def test_a_number_stands_for_what_is_missing_in_the_units_of_the_variable():
    for transform in (None, Sqrt()):
        values, _ = seen(290.0, transform)
        expected = 290.0 if transform is None else 290.0**0.5
        np.testing.assert_allclose(values[LAND], expected, rtol=1e-6)


def test_the_nearest_place_with_a_value_stands_for_what_is_missing():
    values, fields = seen("nearest")
    shore = np.arange(24) // 6 * 6 + 3  # the last column of the sea, in each row
    np.testing.assert_allclose(values[LAND], fields.values[1, 0, shore[LAND], 1], rtol=1e-9)
    nearest = nearest_with_value(fields.mesh, ~LAND)
    assert (nearest[~LAND] == np.flatnonzero(~LAND)).all() and (nearest[LAND] == shore[LAND]).all()


def test_a_forecast_stays_missing_where_it_was_and_a_checkpoint_imputes_alike(tmp_path: Path):
    fields = weather_fields()
    emulator = fitted(task("nearest"), fields)
    state, forcing = starting_from(fields, emulator.task, [30]), torch.zeros(1, 3, 24, 0)
    following = emulator.step(state, forcing)[0].now
    assert torch.equal(following[..., 1].isnan()[0, 0], torch.from_numpy(LAND)) and following[..., 0].isfinite().all()
    statistics = TrainingPart(fields).statistics(emulator.task)
    trained = TrainedEmulator("e", emulator, GNNConfig(processor=SMALL), statistics)
    save_emulator(tmp_path / "e.safetensors", trained)
    again = load_emulator(tmp_path / "e.safetensors").emulator.step(state, forcing)[0].now
    assert torch.equal(again.nan_to_num(), following.nan_to_num())


def test_forcings_are_imputed_too():
    fields = weather_fields()
    for given in ("nearest", 280.0):
        forced = Variable("sst", "forcing", "K", imputation=given)
        asked = Task((Variable("2t", "prognostic", "K"), forced), HOUR)
        stored = fields.values[:, 0, :, 1:2].astype(np.float64)
        provider = Forcings(GivenForcings(("sst",), fields.times, stored.__getitem__))
        inputs = build_inputs(None, asked, fields.mesh)
        inputs.take(TrainingPart(fields, forcings=provider))
        window = torch.from_numpy(fields.values[None, :2, 0, :, 1:2])
        own = inputs.own(window, 1)[0, :, 0] * inputs.forcing_std[0] + inputs.forcing_mean[0]
        expected = fields.values[0, 0, np.arange(24) // 6 * 6 + 3, 1][LAND] if given == "nearest" else 280.0
        np.testing.assert_allclose(own[LAND], expected, rtol=1e-6)


def test_departures_are_zero_where_a_value_is_missing_and_take_no_other():
    with pytest.raises(MeshcastError, match=r"task\.normalisers or task\.imputation names sst"):
        build_inputs(DeparturesConfig("hour"), task("nearest"), weather_fields().mesh)


def test_some_nodes_of_all_have_no_nearest():
    fields = weather_fields()
    inputs = build_inputs(None, task("nearest"), fields.mesh)
    inputs.take(TrainingPart(fields))
    state = starting_from(fields, inputs.task, [0])
    with pytest.raises(MeshcastError, match=r"task\.imputation: nearest looks at all nodes"):
        inputs.fields(replace(state, values=state.values[:, :, :, :12]))
