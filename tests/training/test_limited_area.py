"""Training on a limited area: the interior alone teaches, and alone is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader

from emulator.forcings import Forcings
from emulator.protocol import rollout
from inference.scores.verification import verify
from tests.emulator.data.test_boundary_sources import forecast_of
from tests.emulator.test_boundary import NEIGHBOURS, WIND, WINDOW, globe, windowed
from tests.emulator.worlds import fitted
from training.experiment import DataConfig, DataPart, TrainingConfig, ValidationConfig
from training.optimisation.module import EmulatorModule
from training.preparation.windows import Windows

AREA = windowed(globe())
INSIDE = torch.from_numpy(~AREA.mesh.boundary)


def test_the_loss_is_the_mean_over_the_interior() -> None:
    emulator = fitted(WIND, AREA, NEIGHBOURS)
    windows = Windows(AREA, WIND, 2, Forcings())
    module = EmulatorModule(emulator, windows, windows, TrainingConfig(unroll=2, noise=0.0), ValidationConfig(steps=2))
    batch = next(iter(DataLoader(windows, batch_size=3)))
    state, forcings = windows.start_of(batch)
    areas = torch.from_numpy(AREA.mesh.areas).float()[INSIDE]
    scale = emulator.inputs.std * emulator.correction_std
    terms = []
    for step, (following, _) in enumerate(rollout(emulator, state, forcings, 2)):
        error = ((following.now[:, 0] - batch["values"][:, 2 + step]) / scale)[:, INSIDE].square()
        terms.append((error * (areas / areas.sum())[:, None]).sum(1).mean())
    torch.testing.assert_close(module.loss(batch), torch.stack(terms).mean(), rtol=1e-5, atol=1e-6)


def test_verification_scores_the_interior_alone() -> None:
    forecast = forecast_of(AREA, 1, 3)
    wrong = forecast.values.copy()
    wrong[..., AREA.mesh.boundary, :] += 1e3
    scores = verify([replace(forecast, values=wrong)], AREA, spectra=False).emulators[0]
    assert np.all(scores.mean("rmse") == 0.0)
    wrong[..., ~AREA.mesh.boundary, :] += 2.0
    scores = verify([replace(forecast, values=wrong)], AREA, spectra=False).emulators[0]
    np.testing.assert_allclose(scores.mean("rmse"), 2.0, rtol=1e-5)


def test_one_block_cuts_every_part_of_the_data() -> None:
    own = replace(WINDOW, radius_km=3000.0)
    data = DataConfig(DataPart("a.zarr"), DataPart("b.zarr", window=own), window=WINDOW)
    assert data.train.window == WINDOW and data.validation.window == own and data.test is None
    assert replace(data, test=DataPart("c.zarr")).test.window == WINDOW
