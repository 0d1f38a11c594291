"""The picture that a validation gives trackers: a forecast beside its truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from emulator.data.forecast import Forecast
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.task import names_of
from training.preparation.windows import Windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_forecast(emulator: NeuralEmulator, starts: Windows, path: Path) -> Path:
    """Write PATH.png of the forecast from the first validation start."""
    from inference.pictures.style import save

    return save(draw(emulator, starts), path)


def draw(emulator: NeuralEmulator, starts: Windows) -> Figure:
    """Draw truth, forecast and error of the first prognostic variable, from the first validation start.

    The picture shows space and time on a ring, maps elsewhere.
    """
    from inference.pictures.field_maps import maps
    from inference.pictures.ring_pictures import hovmoeller

    forecast, fields = first_forecast(emulator, starts), starts.fields
    variable = forecast.variables[0]
    if forecast.mesh.domain.kind == "ring":
        return hovmoeller(forecast, fields, variable)
    return maps(forecast, fields, variable)


@torch.no_grad()
def first_forecast(emulator: NeuralEmulator, starts: Windows) -> Forecast:
    """Return the emulator's forecast from the first validation start."""
    device = emulator.node_weights.device
    batch = {name: value[None].to(device) for name, value in starts[0].items()}
    state, forcings = starts.start_of(batch)
    steps = [following.now for following, _ in rollout(emulator, state, forcings, starts.steps)]
    variables = emulator.task.with_role("prognostic")
    simulated = starts.fields.ensemble_axis == "trajectory"
    return Forecast(
        name="forecast",
        values=torch.stack(steps, dim=2).float().cpu().numpy(),
        variables=names_of(variables),
        units=tuple(variable.units for variable in variables),
        mesh=emulator.mesh,
        time_step=emulator.task.time_step,
        init_time=state.valid_time,
        trajectory=starts.pairs[:1, 0] if simulated else np.array([-1]),
        lead_steps=np.arange(1, starts.steps + 1),
    )
