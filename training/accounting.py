"""What is kept of a run beside what it learns: how it is tracked, and what its energy costs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from graphs.errors import MeshcastError


@dataclass(frozen=True)
class TrackingConfig:
    """Trackers, any of them at once, beside the CSV logs every run writes; see docs/tracking.md.

    wandb: Weights & Biases: off, offline (files under the run, for `wandb sync`) or online.
    project: of Weights & Biases, and the experiment of MLflow.
    mlflow: off, local (mlflow.db under `output`), or the address of a tracking server (https://...) or of a database
        (sqlite:///...).
    registered_model: name in MLflow's registry of which a finished run becomes a version; none by default.
    tensorboard: whether event files are written under the run.
    """

    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "meshcast"
    mlflow: str = "off"
    registered_model: str | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        address = re.fullmatch(r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://(?:[^/@]*:([^/@]*)@)?.+", self.mlflow)
        if self.mlflow not in ("off", "local") and address is None:
            raise MeshcastError(
                f"tracking.mlflow is off, local, or the address of a tracking server or database (https://..., "
                f"sqlite:///...), but is {self.mlflow!r}. Folders as stores are no longer MLflow's."
            )
        if address is not None and address[3]:
            raise MeshcastError(
                "tracking.mlflow holds a password, which would be stored with every run. Leave it out, and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        if self.registered_model is not None:
            if self.mlflow == "off":
                raise MeshcastError("tracking.registered_model is MLflow's, but tracking.mlflow is off. Set it too.")
            if not self.registered_model.strip() or set("/:") & set(self.registered_model):
                raise MeshcastError(
                    f"tracking.registered_model is {self.registered_model!r}, but MLflow takes a name without / and :."
                )

    @property
    def is_on(self) -> bool:
        """Return whether any tracker follows the run."""
        return self.wandb != "off" or self.mlflow != "off" or self.tensorboard


@dataclass(frozen=True)
class AccountingConfig:
    """How energy.json of a run counts what its training took; none of it changes a number that is learned.

    carbon_intensity: of the electricity, grams of CO2 (or its equivalent) a kilowatt-hour; none are said by default.
    price: of a kilowatt-hour; no cost is said by default. currency: of the price, as EUR.
    watts_per_core: power of a busy core, by which the energy of processor seconds is estimated where the processor's
        own counters cannot be read. 10 W lies between the thermal design power of a server's core, 4 to 8 W, and that
        of a desktop's, up to 15 W; memory, cooling and idle cores are not in it.
    """

    carbon_intensity: float | None = None
    price: float | None = None
    currency: str = ""
    watts_per_core: float = 10.0

    def __post_init__(self) -> None:
        for name in ("carbon_intensity", "price"):
            if (value := getattr(self, name)) is not None and not 0 <= value < float("inf"):
                raise MeshcastError(f"accounting.{name} must be a number from 0, but is {value}.")
        if not 0 < self.watts_per_core < float("inf"):
            raise MeshcastError(f"accounting.watts_per_core must be positive, but is {self.watts_per_core}.")
        if self.currency and self.price is None:
            raise MeshcastError(f"accounting.currency is {self.currency}, but no price is given. Set accounting.price.")
