"""What energy a training took, in energy.json of its run folder: measured where the machine counts it, else estimated.

A run that is resumed has a part for each time it ran, on whatever machine, and their sum.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from emulator.build import is_closed_form
from graphs.errors import MeshcastError
from training.accounting import AccountingConfig
from training.early_end import DivergedError
from training.experiment import ExperimentConfig
from training.json_file import read_json, write_json
from training.optimisation.machine import Seconds
from training.processes import is_first_process
from training.resumable import checkpoints_of
from training.runs.data_in_words import listed
from training.runs.energy_counters import (
    POWERCAP,
    busy_seconds,
    gpu_joules,
    package_counters,
    process_seconds,
    processor_name,
)

log = logging.getLogger(__name__)

FILE = "energy.json"
PERIOD = 30.0  # seconds between readings: a counter of RAPL wraps after minutes, and a kill loses no more
JOULES = 3.6e6  # in a kilowatt-hour
EARLIER = "what an earlier version, or a part whose record was damaged, took"


@dataclass(frozen=True)
class Part:
    """What one uninterrupted stretch of a run took.

    processor_kwh: by `method`: `measured`, the packages' and their memory's energy by RAPL times this process's `share`
        of the busy processor seconds of the machine; `estimated`, processor seconds times `watts_per_core`.
    gpu_kwh: of `gpus`, idle power included, by NVML.
    left_out: what took energy that is not in these numbers.
    """

    begun: str
    seconds: float
    processor_seconds: float
    processor: str
    method: str
    processor_kwh: float
    share: float | None = None
    watts_per_core: float | None = None
    gpu_kwh: float = 0.0
    gpus: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@contextmanager
def metered(config: ExperimentConfig, folder: Path) -> Iterator[None]:
    """Count the energy of a block into the run folder, every half minute and at its end.

    A run that is refused leaves nothing of it. Whatever fails in counting is logged, and never fails the run.
    """
    if not is_first_process():
        yield
        return
    meter, refused = Meter(config, folder), False
    try:
        meter.start()
        yield
    except MeshcastError as error:
        refused = not isinstance(error, DivergedError)
        raise
    finally:
        meter.stop(write=not refused)


class Meter:
    """Reads counters in a thread of its own, which sleeps between readings.

    powercap: where Linux shows the counters of RAPL.
    Of several processes the first one alone is read, and what it takes counts for each.
    """

    def __init__(self, config: ExperimentConfig, folder: Path, powercap: Path = POWERCAP) -> None:
        training = config.training
        self.accounting, self.folder, self.powercap = config.accounting, folder, powercap
        network = not is_closed_form(config.emulator)
        self.devices, self.machines = (training.devices, training.num_nodes) if network else (1, 1)
        self.on_gpu = network and training.accelerator != "cpu"
        self.begun = datetime.now(UTC).isoformat(timespec="seconds")
        self.joules = self.own_joules = self.gpu = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)
        self._reading = threading.Lock()

    def start(self) -> None:
        """Take the first readings, and go on in the background."""
        with _never_failing("start"):
            self.parts, self.left_out = earlier_parts(self.folder)
            self.counters = package_counters(self.powercap)
            self.first = self.last = self._now()
            self._thread.start()

    def stop(self, write: bool = True) -> None:
        """Take the last readings, and write them; where they are not to be, what was written before stays."""
        self._end.set()
        if not write:
            return
        with _never_failing("end"):
            if self._thread.ident is not None:
                self._thread.join(timeout=PERIOD)
            self._read()

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            with _never_failing("go on"):
                self._read()

    def _now(self) -> dict[str, Any]:
        return {
            "clock": time.perf_counter(),
            "process": process_seconds(children=self.devices * self.machines == 1),
            "busy": busy_seconds(),
            "packages": [counter.joules() for counter in self.counters],
            "gpus": gpu_joules() if self.on_gpu else {},
        }

    def _read(self) -> None:
        with self._reading:
            now, last = self._now(), self.last
            readings = zip(self.counters, last["packages"], now["packages"], strict=True)
            spent = sum(counter.since(before, later) for counter, before, later in readings)
            self.joules += spent
            self.own_joules += spent * self._share(last, now)
            self.last = now
            write_energy(self.folder, [*self.parts, self._part()], self.accounting, self.left_out)

    def _share(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> float:
        """Return the share of the busy processor seconds between two readings that this run took."""
        if before["busy"] is None or now["busy"] is None:
            return 1.0
        own = (now["process"] - before["process"]) * self.devices
        return min(1.0, own / max(now["busy"] - before["busy"], own, 1e-9))

    def _part(self) -> Part:
        first, now = self.first, self.last
        processor = (now["process"] - first["process"]) * self.devices * self.machines
        measured = bool(self.counters)
        watts = self.accounting.watts_per_core
        gpus, missing = self._gpus()
        taken = sum(now["gpus"][name] - first["gpus"][name] for name in gpus)
        return Part(
            begun=self.begun,
            seconds=now["clock"] - first["clock"],
            processor_seconds=processor,
            processor=processor_name(),
            method="measured" if measured else "estimated",
            processor_kwh=(self.own_joules * self.machines if measured else processor * watts) / JOULES,
            share=self.own_joules / self.joules if self.joules else None,
            watts_per_core=None if measured else watts,
            gpu_kwh=taken * self.machines / JOULES,
            gpus=tuple(gpus),
            left_out=missing,
        )

    def _gpus(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the GPUs of this run that count their energy, and what is to be said where one does not."""
        if not self.on_gpu or not torch.cuda.is_initialized():
            mps = self.on_gpu and torch.backends.mps.is_available()
            return [], ("the GPU, whose energy nothing counts here",) if mps else ()
        used = range(min(self.devices, torch.cuda.device_count()))
        names = [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in used]
        known = [name for name in names if name in self.first["gpus"] and name in self.last["gpus"]]
        return known, ("the GPU, whose counter NVML does not give",) if len(known) < len(names) else ()


@dataclass(frozen=True)
class Power:
    """What a training takes while it runs.

    watts: of a busy core, `measured` by its counters or as configured. cores: busy at a time. gpu_watts: of the GPUs;
    None where it runs on none. left_out: what takes energy that is not in these numbers.
    """

    watts: float
    measured: bool
    cores: float
    gpu_watts: float | None
    left_out: tuple[str, ...] = ()

    def joules(self, taken: Seconds) -> float:
        """Return the energy of work that took so long; on a GPU by the clock."""
        processor = taken.working if self.gpu_watts is None else taken.clock * self.cores
        return processor * self.watts + (self.gpu_watts or 0.0) * taken.clock


class PowerReading:
    """The power of this process from the moment that this is made."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu, self.counters = on_gpu, package_counters()
        self.first = self._now()

    def power(self, accounting: AccountingConfig) -> Power:
        """Return what it was up to now, by the machine's counters where it has any."""
        first, last = self.first, self._now()
        own, clock = last["process"] - first["process"], max(last["clock"] - first["clock"], 1e-9)
        watts, measured = accounting.watts_per_core, bool(self.counters) and own > 0
        if measured:
            readings = zip(self.counters, first["packages"], last["packages"], strict=True)
            busy = own if last["busy"] is None else max(last["busy"] - first["busy"], own)
            watts = sum(counter.since(before, later) for counter, before, later in readings) / busy
        gpus = [last["gpus"][name] - joules for name, joules in first["gpus"].items() if name in last["gpus"]]
        missing = ("the GPU, whose energy nothing counts here",) if self.on_gpu and not gpus else ()
        gpu_watts = max(gpus, default=0.0) / clock if self.on_gpu else None  # the busiest is this process's
        return Power(watts, measured, own / clock, gpu_watts, missing)

    def _now(self) -> dict[str, Any]:
        return {
            "clock": time.perf_counter(),
            "process": process_seconds(),
            "busy": busy_seconds(),
            "packages": [counter.joules() for counter in self.counters],
            "gpus": gpu_joules() if self.on_gpu else {},
        }


def write_energy(
    folder: Path, parts: Sequence[Part], accounting: AccountingConfig, left_out: Sequence[str] = ()
) -> None:
    """Write the parts of a run, and their sum: kilowatt-hours, with CO2 and cost where these are configured."""
    kwh = sum(part.processor_kwh + part.gpu_kwh for part in parts)
    write_json(
        folder / FILE,
        {
            "kwh": kwh,
            **cost_of(kwh, accounting),
            "method": " and ".join(sorted({part.method for part in parts}, reverse=True)),
            "seconds": sum(part.seconds for part in parts),
            "processor_seconds": sum(part.processor_seconds for part in parts),
            "left_out": sorted({*left_out, *(text for part in parts for text in part.left_out)}),
            "accounting": asdict(accounting),
            "parts": [asdict(part) for part in parts],
        },
    )


def cost_of(kwh: float, accounting: AccountingConfig) -> dict[str, float]:
    """Return grams of CO2 and the price of an energy, each where its rate is configured."""
    rates = {"grams_co2": accounting.carbon_intensity, "cost": accounting.price}
    return {name: kwh * rate for name, rate in rates.items() if rate is not None}


def read_energy(folder: Path) -> dict[str, Any] | None:
    """Return what energy.json of a run folder says; None where there is none that can be used."""
    try:
        return read_json(folder / FILE, "Remove it to do without.") if (folder / FILE).is_file() else None
    except MeshcastError as error:
        log.warning("%s", error)
        return None


def energy_sentence(energy: Mapping[str, Any], threads: str = "") -> str:
    """Return what a run took: time, machine, energy, and what that cost where it is known."""
    machines = list(dict.fromkeys(part["processor"] for part in energy["parts"]))
    gpus = {name for part in energy["parts"] for name in part["gpus"]}
    on = listed(machines) + (f" and {len(gpus)} NVIDIA GPU{'s' * (len(gpus) > 1)}" if gpus else "")
    text = (
        f"It took {energy['processor_seconds']:,.4g} processor seconds on {on}{f', {threads},' if threads else ''} and "
        f"{energy['kwh']:.2g} kWh, {energy['method']}"
    )
    watts = sorted({part["watts_per_core"] for part in energy["parts"] if part["watts_per_core"]})
    text += f" at {listed([f'{value:g} W' for value in watts])} for each busy core" if watts else ""
    accounting = energy["accounting"]
    if "grams_co2" in energy:
        text += f"; {energy['grams_co2']:.2g} g of CO2 at {accounting['carbon_intensity']:g} g/kWh"
    if "cost" in energy:
        text += f"; {energy['cost']:.2g} {accounting['currency']}".rstrip() + f" at {accounting['price']:g} a kWh"
    return text + (f", without {listed(energy['left_out'])}." if energy["left_out"] else ".")


def earlier_parts(folder: Path) -> tuple[list[Part], list[str]]:
    """Return the parts before this one, and what of them is not known."""
    found = read_energy(folder)
    if found is None:
        return [], [EARLIER] if checkpoints_of(folder) else []
    parts = [Part(**{**part, "gpus": tuple(part["gpus"]), "left_out": ()}) for part in found["parts"]]
    return parts, list(found["left_out"])


@contextmanager
def _never_failing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.warning("The energy of this run cannot be counted (%s): %s: %s", what, type(error).__name__, error)
