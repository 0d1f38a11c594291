"""What is kept of a run beside what it learns: how it is tracked, and what its energy costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphs.errors import MeshcastError


@dataclass(frozen=True)
class TrackingConfig:
    """Weights & Biases, beside the CSV log every run writes.

    wandb: off, offline (files under the run, for `wandb sync`) or online.
    """

    wandb: Literal["off", "offline", "online"] = "off"
    project: str = "meshcast"


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
