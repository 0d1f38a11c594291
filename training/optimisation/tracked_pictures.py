"""What a tracked run shows after each validation: the score, and a picture of one forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch

from emulator.data.forecast import Forecast
from emulator.protocol import rollout
from emulator.task import names_of
from inference.pictures.field_maps import maps
from inference.pictures.hovmoeller import hovmoeller
from training.optimisation.module import EmulatorModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ForecastPicture(L.Callback):
    """Logs the score, and the forecast from the first validation start beside its truth.

    The picture shows space and time on a ring, maps elsewhere. Steps count updates, as in metrics.csv.
    """

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, EmulatorModule)
        if not trainer.is_global_zero:
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        for logger in trainer.loggers:
            logger.log_metrics({"validation_score": module.score, "learning_rate": rate}, trainer.global_step)
            if hasattr(logger, "log_image") and np.isfinite(module.score):
                logger.log_image("forecast", [draw(module)], trainer.global_step)


def draw(module: EmulatorModule) -> Figure:
    """Draw truth, forecast and error of the first prognostic variable, from the first validation start."""
    forecast, fields = first_forecast(module), module.validation_windows.fields
    variable = forecast.variables[0]
    if forecast.mesh.domain.kind == "ring":
        return hovmoeller(forecast, fields, variable)
    return maps(forecast, fields, variable)


@torch.no_grad()
def first_forecast(module: EmulatorModule) -> Forecast:
    """Return the averaged emulator's forecast from the first validation start."""
    starts, emulator = module.validation_windows, module.averaged
    batch = {name: value[None].to(module.device) for name, value in starts[0].items()}
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
