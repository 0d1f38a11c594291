"""Scales and features: of the training part, whatever its length, with masked nodes at their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.data.forcing_sources import forcings_of
from emulator.features.inputs import Inputs, forcing_scales
from emulator.foundation.time_step import TimeStep
from emulator.protocol import rollout
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.worlds import HOUR, fitted, starting_from, weather_fields

WARM_SEA = Task((Variable("2t", "prognostic", "K"), Variable("sst", "forcing", "K")), HOUR)


def test_the_hour_of_a_long_series_keeps_its_spread() -> None:
    """1,100 six-hourly times: every fourth of them is midnight."""
    short = weather_fields(2)
    times = short.times[0] + 6 * 3600 * np.arange(1100)
    fields = replace(short, values=np.zeros((1100, 1, 24, 3), np.float32), times=times, time_step=TimeStep.parse("6h"))
    mean, std = forcing_scales(TrainingPart(fields), ["cos_local_time", "sin_local_time"])
    assert np.abs(mean).max() < 0.15 and std == pytest.approx([0.707, 0.707], abs=0.08)


def test_scales_of_forcings_agree_with_numpy() -> None:
    fields = weather_fields(50)
    provider = TrainingPart(fields).provider
    values = provider.at(fields.times, ["insolation"], fields.mesh.num_nodes)
    mean, std = forcing_scales(TrainingPart(fields), ["insolation"])
    assert (mean[0], std[0]) == pytest.approx((values.mean(), values.std()), rel=1e-12)


def test_a_masked_forcing_spoils_nothing() -> None:
    """Sea surface temperature, absent on land, drives the air above it."""
    fields = weather_fields()
    part = TrainingPart(fields, forcings=forcings_of(WARM_SEA, fields.mesh, fields))
    emulator = fitted(WARM_SEA, fields, part=part)
    sea = fields.values[..., 1]
    assert emulator.inputs.forcing_mean[0] == pytest.approx(np.nanmean(sea, dtype=np.float64), rel=1e-6)
    assert emulator.inputs.forcing_std[0] == pytest.approx(np.nanstd(sea, dtype=np.float64), rel=1e-4)
    for following, _ in rollout(emulator, starting_from(fields, WARM_SEA, [0, 4]), part.provider, 3):
        assert torch.isfinite(following.values).all()


def test_a_forcing_that_never_varies_has_a_scale_of_one_and_an_empty_one_is_refused() -> None:
    fields = weather_fields()
    fields.values[..., 1] = 0.1
    inputs = Inputs(WARM_SEA, fields.mesh)
    inputs.take(TrainingPart(fields, forcings=forcings_of(WARM_SEA, fields.mesh, fields)))
    assert inputs.forcing_std.tolist() == [1.0]
    fields.values[..., 1] = np.nan
    with pytest.raises(MeshcastError, match="forcing sst has no value over the training part"):
        inputs.take(TrainingPart(fields, forcings=forcings_of(WARM_SEA, fields.mesh, fields)))
