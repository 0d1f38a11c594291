"""What a training would take: each of its parts is rehearsed, and nothing is written."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch

from emulator.build import is_closed_form
from emulator.foundation.threads import Notice
from emulator.neural import NeuralEmulator
from graphs.available_memory import available_memory, peak_memory
from graphs.errors import MeshcastError
from training.accounting import AccountingConfig
from training.experiment import ExperimentConfig
from training.optimisation.long_rollout import long_rollout
from training.optimisation.machine import Rehearsal, Seconds, now
from training.optimisation.optimiser import updates_averaged
from training.preparation.first_guess import Untrained, updates_in_memory
from training.preparation.prepared import Prepared, PreparedData, look_at_test_data, windows_of
from training.run_folder import run_folder
from training.runs.between import refuse_nothing_between, rehearse_between
from training.runs.budget import budget_of, with_counts_of
from training.runs.closed_forms import closed_form_scores
from training.runs.energy import JOULES, Power, PowerReading, cost_of
from training.runs.energy_counters import children_seconds
from training.runs.fit import TIMED_UPDATES, WARM_UP, loop_of, stages_by_length, untrained_on_threads
from training.runs.scenario_test import refuse_untestable, with_scenario_test
from training.runs.variability import with_variability

log = logging.getLogger(__name__)

TIMED_SECONDS = 8.0  # of the clock that updates of each stage are timed
MOST_TIMED = 2_000  # updates of each
LONG_STEPS = 20  # of a long rollout that are timed
CARBON_INTENSITY = 445.0  # g CO2 a kWh, the world's mean of 2024: IEA (2025), Electricity 2025, chapter Emissions
NO_TIME = Seconds()
PRICE = 0.15  # of a kWh, in the order of what businesses pay


def dry_run(
    config: ExperimentConfig,
    most: float = TIMED_SECONDS,
    notice: Notice = log.info,
    before: Seconds = NO_TIME,
) -> dict[str, Any]:
    """Rehearse a training, and say what time, memory, energy and money it would take. Nothing is written.

    Data are read, graphs built and the first guess fitted as in a training; some updates of every stage of a
    curriculum, a whole validation, some steps of a long rollout and what follows the training are made, on a network
    that is thrown away. Their seconds are multiplied by how often each comes; the memory is the most that was taken.

    most: seconds of the clock that updates of each stage are timed.
    notice: takes a line on what is being rehearsed, since that may take a minute or more.
    before: what this process has taken already, such as the import of libraries, which a training takes too.
    """
    on_gpu = config.training.accelerator != "cpu" and torch.cuda.is_available()
    clock = _Clock(on_gpu, before)
    data = PreparedData()
    prepared = data.prepare(config)
    refuse_nothing_between(prepared)
    refuse_untestable(prepared)
    for line in look_at_test_data(prepared):
        log.warning("%s", line)
    fields = prepared.train
    found: dict[str, Any] = {
        "data": f"{len(fields.times)} times, {fields.ensemble_size} ensemble rows, {len(fields.variables)} variables",
        "mesh": fields.mesh.describe(),
        "time step": str(prepared.task.time_step),
    }
    if is_closed_form(config.emulator):
        return {**found, "training": "closed form, no updates"}
    with updates_in_memory(prepared), untrained_on_threads(prepared) as untrained:
        threads = torch.get_num_threads()
        prepared.description(data)
        clock.passed("start")
        reading = PowerReading(on_gpu)
        work, counted = _descent(prepared, untrained, most, notice)
        power = reading.power(config.accounting)
    clock.skip()
    notice("Rehearsing what follows the training ...")
    _follow(prepared, untrained, clock)
    parts = {"start": clock.parts.pop("start"), **work, **clock.parts}
    whole = sum(parts.values(), Seconds())
    processes = config.training.processes
    return {
        **found,
        "windows": len(untrained.windows),
        "parameters": sum(weight.numel() for weight in untrained.emulator.parameters()),
        "threads": threads,
        "processes": processes,
        **counted,
        "hours": _digits(whole.clock / 3600),
        f"{'GPU' if on_gpu else 'core'} minutes to expect": _digits(whole.working * processes / 60),
        f"{'GPU' if on_gpu else 'core'} seconds by part": {name: _digits(part.working) for name, part in parts.items()},
        **_energy(whole, processes, power, config.accounting),
        **_memory(config, prepared, untrained, processes),
        "run folder": str(run_folder(config)),
    }


def lines_of(expected: dict[str, Any]) -> list[str]:
    """Return what a dry run found as lines for a person."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name} {amount:,.4g}" for name, amount in value.items())
        return "; ".join(value) if isinstance(value, list) else str(value)

    return [f"{name}: {text(value)}" for name, value in expected.items()]


class _Clock:
    """Seconds of the parts of a training, by name."""

    def __init__(self, on_gpu: bool, before: Seconds) -> None:
        self.on_gpu, self.parts = on_gpu, dict[str, Seconds]()
        self._last = now(on_gpu) - before

    def skip(self) -> None:
        """Let what has passed count for no part."""
        self._last = now(self.on_gpu)

    def passed(self, name: str) -> None:
        """Take what has passed since the last time as a part."""
        moment = now(self.on_gpu)
        self.parts[name] = moment - self._last
        self._last = moment


def _descent(
    prepared: Prepared, untrained: Untrained, most: float, notice: Notice
) -> tuple[dict[str, Seconds], dict[str, Any]]:
    """Return the seconds of updates, validations and long rollouts, and what was counted."""
    config, stages = untrained.config, _stages(untrained, most, notice)
    validation = stages[0][1].validation
    update = sum((rehearsal.update(WARM_UP) * share for share, rehearsal in stages), Seconds())
    work: dict[str, Seconds] = {}
    if config.training.minutes is not None:
        config = with_counts_of(budget_of(config, update.working, validation.working), config, log.debug)
        work["timing of updates"] = (update * (TIMED_UPDATES + WARM_UP) + validation * 2) * len(stages)
    updates, every = config.training.updates, config.validation.every
    validated = [0, *range(every, updates, every), updates]
    averaged = [update for update in validated if updates_averaged(config.training.average_last, update, updates)]
    forecasts = len(validated) + 2 * len(averaged)  # by the moving average; there by the mean and the last weights, too
    work |= {"updates": update * updates, "validations": validation * forecasts}
    on_gpu = torch.cuda.is_initialized()
    if (long := long_rollout(prepared, untrained.starts, config)) is not None:
        steps = min(LONG_STEPS, long.steps)
        notice(f"Timing a long rollout, {steps} of its {long.steps} steps ...")
        begun = now(on_gpu)
        replace(long, steps=steps).lived(untrained.emulator)
        work["long rollouts"] = (now(on_gpu) - begun) * (long.steps / steps * forecasts)
    return work, {
        "updates": updates,
        "validations": len(validated),
        "seconds per update": _digits(update.working),
        "seconds per validation": _digits(validation.working),
        "updates timed": sum(len(rehearsal.updates) for _, rehearsal in stages),
        **({"at most": "training.patience may end it before"} if config.training.patience is not None else {}),
    }


def _stages(untrained: Untrained, most: float, notice: Notice) -> list[tuple[float, Rehearsal]]:
    """Return the share of the updates of each stage of a curriculum, and its rehearsal."""
    config, stages = untrained.config, []
    updates = MOST_TIMED if config.training.minutes is not None else min(MOST_TIMED, config.training.updates)
    for share, unroll in stages_by_length(config.training):
        notice(f"Timing updates of {unroll} step{'s' * (unroll > 1)}, for {most:g} s, and a validation ...")
        training = replace(config.training, unroll=unroll, curriculum=(), random_unroll=False, plateau=None)
        stage = replace(untrained, config=replace(config, training=training))
        children = children_seconds()
        rehearsal = loop_of(config).rehearse(stage, updates + WARM_UP, most)
        if config.training.num_workers:  # their processor seconds are known once they have ended
            each = Seconds((children_seconds() - children) / len(rehearsal.updates))
            rehearsal = replace(rehearsal, updates=tuple(lap + each for lap in rehearsal.updates))
        stages.append((share, rehearsal))
    return stages


def _follow(prepared: Prepared, untrained: Untrained, clock: _Clock) -> None:
    """Rehearse what follows the training of a network, on the untrained one."""
    config, emulator = prepared.config, untrained.emulator
    if config.between is not None:
        clock.parts["between"] = rehearse_between(prepared, emulator)
        clock.skip()
    if config.variability is not None:
        try:
            with_scenario_test(prepared, with_variability(prepared, prepared.trained(emulator, config.emulator)))
        except MeshcastError as error:  # of the untrained network: the trained one may do better
            log.info("The variability cannot be rehearsed: %s", error)
        clock.passed("variability")
    if isinstance(emulator, NeuralEmulator):
        closed_form_scores(prepared, windows_of(prepared)[1], emulator)
        clock.passed("closed forms")


def _energy(whole: Seconds, processes: int, power: Power, accounting: AccountingConfig) -> dict[str, Any]:
    """Return kilowatt-hours, CO2 and money, by factors that are configured or else assumed, and which these are."""
    kwh = power.joules(whole) * processes / JOULES
    assumed = [] if power.measured else [f"{accounting.watts_per_core:g} W a busy core (accounting.watts_per_core)"]
    if accounting.carbon_intensity is None:
        assumed.append(
            f"{CARBON_INTENSITY:g} g CO2 a kWh, the world's mean of 2024 by the IEA (accounting.carbon_intensity)"
        )
        accounting = replace(accounting, carbon_intensity=CARBON_INTENSITY)
    if accounting.price is None:
        assumed.append(f"{PRICE:g} USD a kWh (accounting.price)")
        accounting = replace(accounting, price=PRICE, currency="USD")
    cost = cost_of(kwh, accounting)
    currency = accounting.currency or "money"
    found = {"kWh": kwh, "kg CO2": cost["grams_co2"] / 1000, f"cost of electricity [{currency}]": cost["cost"]}
    return {**{name: _digits(value) for name, value in found.items()}, "assumed": assumed + list(power.left_out)}


def _memory(config: ExperimentConfig, prepared: Prepared, untrained: Untrained, processes: int) -> dict[str, Any]:
    """Return the most memory that was taken, of main memory and of a GPU, and how that was found."""
    peak, unrolls = peak_memory(), sorted({unroll for _, unroll in config.training.stages})
    gradients = 4 * sum(weight.numel() for weight in untrained.emulator.parameters()) if processes > 1 else 0
    found: dict[str, Any] = {"peak memory [MB]": round((peak + gradients) / 1e6)}
    if torch.cuda.is_initialized():
        found["peak GPU memory [MB]"] = round((torch.cuda.max_memory_allocated() + gradients) / 1e6)
    if processes > 1:
        found["peak memory of all processes [MB]"] = round((peak + gradients) * processes / 1e6)
    if (left := available_memory()) is not None:
        found["memory left [MB]"] = round(left / 1e6)
    steps = ", ".join(map(str, unrolls))
    found["memory found by"] = (
        f"the most this process held in updates of {config.training.process_batch} samples and {steps} steps, a "
        "validation, a long rollout, and what follows the training"
    )
    if processes > 1:
        found["memory found by"] += (
            "; of each process, with the gradients it exchanges. The time of the exchange is not in what is expected"
        )
    return found


def _digits(value: float) -> float:
    """Return four digits of a number."""
    return float(f"{value:.4g}")
