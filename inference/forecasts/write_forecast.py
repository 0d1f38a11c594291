"""A forecast written straight into its file, lead by lead, and resumed where it was interrupted."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.baselines.coarse_solver import solver_attributes
from emulator.build import TrainedEmulator
from emulator.data.forcing_sources import forcings_of, table_reader
from emulator.data.forecast_file import ForecastWriter, partial_file
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.forecast_zarr import is_zarr_forecast
from emulator.data.grib_output import GribSettings, refuse_ungribbable
from emulator.data.output_choice import OutputChoice, chosen_output
from emulator.data.sources import on_area, open_fields
from emulator.data.starts import InitialConditions
from emulator.forcings import Forcings, ForcingWindows
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.low_precision import Precision, fast_in_bfloat16
from emulator.foundation.threads import Notice, faster_threads, num_threads, threads_given
from emulator.networks.keras_networks.keras_network import KerasNetwork
from emulator.neural import in_precision, precision_of
from emulator.protocol import Emulator
from emulator.state import State
from emulator.task import Task, names_of
from graphs.atomic_file import refuse_existing, refuse_other
from graphs.errors import MeshcastError
from graphs.output_lock import output_lock
from inference.forecasts.converted import convert, whole_before
from inference.forecasts.forecast import GuardedRollout, between_of, on_device, parts_attribute, with_members
from inference.forecasts.guard import Guard, Stop, with_starts
from inference.forecasts.resumed import going_on, state_after, stored_stops
from inference.forecasts.split_forecast import computed_along, refuse_unsplittable, split_over_processes
from inference.forecasts.spread import SpreadWatch

log = logging.getLogger(__name__)

GRIB_ENDINGS = (".grib", ".grib2", ".grb", ".grb2")
NETCDF_ENDINGS = (".nc", ".nc4")
ZARR_ENDING = ".zarr"


def guard_of(trained: TrainedEmulator) -> Guard:
    """Return the guard with the ranges an emulator was trained on."""
    return Guard(trained.statistics, trained.emulator.mesh, trained.valid)


def future_forcings(trained: TrainedEmulator, given: Sequence[str], initial: Sequence[str] = ()) -> Forcings:
    """Return forcings at future times: given by the user, else of the initial conditions' dataset.

    The tables that a checkpoint says it was trained with are not opened: the path of a file in another is no wish.
    """
    task, mesh = trained.emulator.task, trained.emulator.mesh
    tables = [path for path in given if table_reader(path)]
    datasets = [path for path in given if not table_reader(path)]
    if not datasets and task.forcing:
        datasets = [path for path in initial if path.rstrip("/").endswith(".zarr")]
    if len(datasets) > 1:
        raise MeshcastError(f"Forcings come from one dataset, but {len(datasets)} are given: {', '.join(datasets)}.")
    fields = on_area(open_fields(datasets[0]), mesh) if datasets else None
    if fields is not None and not fields.mesh.same_nodes(mesh):
        raise MeshcastError(f"The forcings are on a {fields.mesh.describe()}, the emulator on a {mesh.describe()}.")
    forcings = forcings_of(task, mesh, fields, tables)
    for path, table in zip(tables, forcings.sources, strict=False):  # tables come first
        if not set(table.names) & {*task.forcing, *task.given_forcing}:
            raise MeshcastError(
                f"The forcing table {path} holds {', '.join(table.names)}, but the emulator takes "
                f"{', '.join(task.given_forcing) or 'no forcing'}. Name its columns so, or leave it away."
            )
    return forcings


@dataclass(frozen=True)
class ForecastOptions:
    """How a forecast is computed and written.

    members, perturb, seed: see `with_members`. guarded: stop what leaves the training range.
    resume: continue the partial file of the same forecast, on as many threads, bit for bit.
    device: where the emulator runs, as torch names it: cpu, cuda, cuda:1 ...
    threads: of PyTorch; by default as OMP_NUM_THREADS has it, else one or all, by the time of a few steps.
    precision: of the network, see `in_precision`; a forecast is resumed in the precision it had.
    grib: what GRIB says beyond the fields, see `GribSettings.of`, beside what the emulator's configuration says.
    choice: what is written; the partial file holds all. lineage: attributes on its origin, see `lineage_of`.
    parts: of a step, each a lead time, given by the emulator's network for states between its steps.
    """

    members: int = 1
    perturb: float = 0.0
    seed: int = 0
    guarded: bool = True
    overwrite: bool = False
    resume: bool = False
    device: str = "cpu"
    threads: int | None = None
    grib: Mapping[str, str | int] = field(default_factory=dict)
    choice: OutputChoice = field(default_factory=OutputChoice)
    precision: Precision = "float32"
    parts: int = 1
    lineage: Mapping[str, str] = field(default_factory=dict)


def write_forecast(
    trained: TrainedEmulator,
    initial: InitialConditions,
    forcings: ForcingWindows,
    steps: int,
    output: Path,
    options: ForecastOptions | None = None,
    on_step: Callable[[int], None] | None = None,
    notice: Notice = log.info,
) -> list[Stop]:
    """Roll out from all initial conditions and members at once; return the guard's stops, none where all went well.

    output: NetCDF (.nc), zarr (.zarr), or GRIB (.grib) on a regular grid; whole or not at all under this name.
    notice: takes a line on the threads that were chosen, and on fields that end much smoother than in training.
    Raises MeshcastError where the output exists, cannot be written or is written by another process; nothing is lost
    then. EmptyForecastError where every member is stopped before its first output: nothing is written then.
    """
    _ending(output)
    options = options or ForecastOptions()
    if split := split_over_processes(trained.emulator):
        refuse_unsplittable(options)
    if split and split.shard.number > 0:  # the first process writes what all of them compute
        along, state = in_precision(trained.emulator, options.precision), _ensemble(trained, initial.state, options)
        guard = guard_of(trained) if options.guarded else None
        return with_starts(computed_along(along, state, forcings, guard, steps, options), initial, along.task)
    with output_lock(output):
        return _written(trained, initial, forcings, steps, output, options, on_step, notice)


def _written(
    trained: TrainedEmulator,
    initial: InitialConditions,
    forcings: ForcingWindows,
    steps: int,
    output: Path,
    options: ForecastOptions,
    on_step: Callable[[int], None] | None,
    notice: Notice,
) -> list[Stop]:
    trained = replace(trained, emulator=in_precision(trained.emulator, options.precision))
    between_of(trained, options.parts)
    if options.parts > 1 and options.choice.accumulate:
        raise MeshcastError(
            f"{', '.join(options.choice.accumulate)} cannot be accumulated between steps: amounts are those of a whole "
            f"step of {trained.emulator.task.time_step}. Leave --accumulate away, or choose a longer --every."
        )
    state = _ensemble(trained, initial.state, options)
    heading = options.choice.carried_by(_heading(trained, initial, state, options))
    if steps * options.parts % options.choice.every:
        raise MeshcastError(
            f"A forecast of {steps} steps has no output at its end when written every {options.choice.every} steps. "
            "Choose a lead time that is a multiple of --every."
        )
    ending, grib = _ending(output), _grib_settings(trained, options)
    as_grib = ending in GRIB_ENDINGS
    if options.grib and not as_grib:
        raise MeshcastError(f"--grib says what GRIB holds, but the output is {output}. Let its name end in .grib.")
    if as_grib:  # before the rollout, not after it
        refuse_existing(output, options.overwrite)
        refuse_ungribbable(chosen_output(heading, ())[0], grib)
    elif ending == ZARR_ENDING:
        refuse_other(output, is_zarr_forecast, options.overwrite)
    # GRIB and zarr are made of a NetCDF file when that is whole
    target = output if ending in NETCDF_ENDINGS else output.with_name(output.name + ".nc")
    stops = whole_before(target, output, heading, steps * options.parts, options.resume, options.overwrite)
    if stops is None:
        stops = _rolled_out(trained, initial, forcings, steps, target, output, state, heading, options, on_step, notice)
    if target != output:
        convert(target, output, options.overwrite, grib if as_grib else None)
    return stops


def _rolled_out(
    trained: TrainedEmulator,
    initial: InitialConditions,
    forcings: ForcingWindows,
    steps: int,
    target: Path,
    output: Path,
    state: State,
    heading: ForecastHeading,
    options: ForecastOptions,
    on_step: Callable[[int], None] | None,
    notice: Notice,
) -> list[Stop]:
    """Write the forecast from `state` as NetCDF, and return the guard's stops."""
    keep_freed_memory()
    guard = guard_of(trained) if options.guarded else None
    last = replace(state, valid_time=trained.emulator.task.time_step.advance(state.valid_time, steps - 1))
    forcings.window(last, trained.emulator.task, steps - 1)  # a table that ends too early is refused here
    emulator, between = on_device(trained.emulator, options.device), between_of(trained, options.parts)
    between = None if between is None else between.to(options.device)
    parts, leads = options.parts, steps * options.parts
    if options.precision == "bfloat16" and not fast_in_bfloat16(options.device):
        if options.device != "cpu":
            raise MeshcastError(f"Device {options.device} has no instructions for bfloat16. Use --precision float32.")
        notice("This processor has no instructions for bfloat16: --precision float32 is faster here.")
    writer = _writer(target, heading, options, lambda: _threads(options, emulator, state, forcings, notice))
    try:
        with num_threads(options.threads or writer.heading.threads or torch.get_num_threads()):
            done, generator = writer.leads_done, torch.Generator(options.device).manual_seed(options.seed)
            start = state_after(writer, done, state, emulator.task, parts).to(options.device)
            rolled = GuardedRollout(emulator, start, forcings, guard, done, generator, between, parts)
            rolled.alive &= going_on(writer, done)
            rolled.stops += [] if guard is None else stored_stops(writer, state, options.device, rolled)
            watch = SpreadWatch(state.now.numpy(), names_of(emulator.task.predicted)[: state.now.shape[-1]])
            for step, values in enumerate(rolled.steps(leads - done), start=done + 1):
                writer.append(values)
                for line in watch.look(values, step):
                    notice(line)
                if on_step is not None:
                    on_step(step)
    except BaseException:
        writer.close()
        raise
    while writer.leads_done < leads:  # every member was stopped
        writer.append(np.full(writer.lead_shape, np.nan, dtype=np.float32))
    stops = with_starts(rolled.stops, initial, emulator.task)
    if writer.is_empty():
        writer.discard()
        raise EmptyForecastError(output, stops)
    for line in [] if guard is None else guard.damped(writer.leads(leads - 1, leads)[:, :, 0]):
        notice(line)
    more = {"stops": json.dumps([str(stop) for stop in stops]), **options.lineage}
    writer.finish(more, _initial_values(state, emulator.task))
    return stops


class EmptyForecastError(MeshcastError):
    """Every member of every case was stopped before the first output, or is NaN throughout: nothing was written."""

    def __init__(self, output: Path, stops: Sequence[Stop]) -> None:
        self.stops = list(stops)
        why = (
            "every member of every case was stopped before its first output" if stops else "no value of it is a number"
        )
        super().__init__(
            f"No forecast: {why}, so that {output} was not written. Look at the initial conditions, their units above "
            "all, or see with --no-guard what the emulator does."
        )


def _initial_values(state: State, task: Task) -> NDArray[np.float32]:
    """Return the initial states [case, member, node, predicted], NaN of what is diagnosed."""
    now = state.now.cpu().numpy().astype(np.float32)
    return np.pad(now, ((0, 0),) * 3 + ((0, len(task.diagnostic)),), constant_values=np.nan)


def _threads(
    options: ForecastOptions, emulator: Emulator, state: State, forcings: ForcingWindows, notice: Notice
) -> int:
    """Return the threads of the processor; measured by the first step, but of TensorFlow's, which cannot change."""
    given = threads_given(options.threads)
    in_tensorflow = isinstance(getattr(emulator, "network", None), KerasNetwork)
    if given is not None or options.device != "cpu" or in_tensorflow or split_over_processes(emulator):
        return given or torch.get_num_threads()
    return faster_threads(lambda: list(GuardedRollout(emulator, state, forcings).steps(1)), notice)


def _ending(output: Path) -> str:
    """Return the ending of a forecast's name, which says its format; raise MeshcastError where it says none."""
    ending = output.suffix.lower()
    if ending not in (*NETCDF_ENDINGS, *GRIB_ENDINGS, ZARR_ENDING):
        raise MeshcastError(
            f"A forecast is written as NetCDF (.nc) or GRIB (.grib), or as zarr (.zarr), but the output is {output}. "
            "Let its name end so."
        )
    return ending


def _grib_settings(trained: TrainedEmulator, options: ForecastOptions) -> GribSettings:
    """Return the settings of the configuration and, before them, the options; our own ensembles have a control."""
    given = {**trained.metadata.get("experiment", {}).get("grib", {}), **options.grib}
    return GribSettings.of(given, names_of(trained.emulator.task.predicted), 0 if options.members > 1 else None)


def _ensemble(trained: TrainedEmulator, state: State, options: ForecastOptions) -> State:
    members, given = options.members, state.values.shape[1]
    if members > 1 and given > 1:
        raise MeshcastError(
            f"The initial conditions hold {given} members already; leave --members away, or start from one of them."
        )
    if members > 1 and options.perturb == 0.0:
        raise MeshcastError(f"{members} members from one state need a perturbation: give --perturb, e.g. 0.05.")
    std = trained.statistics.select(trained.emulator.task.prognostic).std
    return with_members(state, members, options.perturb, std.tolist(), options.seed)


def _heading(
    trained: TrainedEmulator, initial: InitialConditions, state: State, options: ForecastOptions
) -> ForecastHeading:
    task = trained.emulator.task
    attributes = {
        **initial.attributes,
        **solver_attributes(trained.config),
        **precision_of(trained.emulator),
        **parts_attribute(options.parts),
        "seed": str(options.seed),
        "perturb": str(options.perturb),
        "validation_score": str(trained.metadata.get("validation_score")),
        "training": json.dumps(trained.metadata.get("experiment", {})),
        "training_fingerprint": str(trained.metadata.get("dataset", {}).get("fingerprint", "")),
    }
    return ForecastHeading(
        name=trained.name,
        mesh=trained.emulator.mesh,
        time_step=task.time_step.part(options.parts),
        variables=names_of(task.predicted),
        units=tuple(variable.units for variable in task.predicted),
        init_time=state.valid_time,
        trajectory=initial.trajectory,
        num_members=state.values.shape[1],
        attributes={name: str(value) for name, value in attributes.items()},
    )


def _writer(
    target: Path, heading: ForecastHeading, options: ForecastOptions, threads: Callable[[], int]
) -> ForecastWriter:
    """Return the writer of a new forecast, on the threads found by then, or of one that is resumed, on those it had."""
    partial = partial_file(target)
    if partial.exists() and options.resume:
        return ForecastWriter.start_or_resume(target, heading, options.overwrite)
    if partial.exists() and not options.overwrite:
        raise MeshcastError(
            f"{partial} is an interrupted forecast. Continue it with --resume, or start anew with --overwrite."
        )
    refuse_existing(target, options.overwrite)
    return ForecastWriter(target, replace(heading, threads=threads()), options.overwrite)
