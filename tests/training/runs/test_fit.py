"""Runs: the same seed gives the same bits, an interrupted run goes on as if nothing had been."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator
from emulator.checkpoint import read
from emulator.foundation.configuration import load, resolve
from emulator.foundation.threads import num_threads
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from graphs.errors import MeshcastError
from tests.locks import held_by_another
from tests.time_limits import HUNG
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import DataPart, ExperimentConfig
from training.json_file import read_json
from training.metrics_log import read_log
from training.optimisation.callbacks import KeepCheckpoints
from training.optimisation.machine import Rehearsal, Seconds
from training.optimisation.module import EmulatorModule
from training.preparation.first_guess import Untrained
from training.preparation.prepared import prepare, windows_of
from training.resumable import updates_done
from training.run_folder import folder_named
from training.runs import fit as fitting
from training.runs.dry_run import dry_run
from training.runs.fit import fit

WITH_RIDGE = GNNConfig(processor=PROCESSOR, first_guess=RidgeConfig(radii=(1, 2), penalties=(1e-6,), rollout_steps=3))
UNTIMED = ("update", "epoch", "loss", "validation_score", "learning_rate")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds: the weights, and their average."""
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """True where two sets of tensors agree bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def log(run: Path) -> list[tuple[Any, ...]]:
    """Rows of metrics.csv without the clock; NaN, of the row before the first update, as None."""
    rows = read_log(run / "metrics.csv")
    return [tuple(None if row[name] != row[name] else row[name] for name in UNTIMED) for row in rows]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """An uninterrupted run."""
    config = experiment(tmp_path_factory.mktemp("runs"), name="reference", emulator=WITH_RIDGE)
    fit(config, progress=False)
    return config


def folder_of(config: ExperimentConfig) -> Path:
    return Path(config.output) / config.name


def test_a_run_leaves_its_configuration_log_and_checkpoints(reference: ExperimentConfig) -> None:
    folder = folder_of(reference)
    assert load(ExperimentConfig, folder / "config.yaml") == reference
    assert [row[0] for row in log(folder)] == [0, 8, 16, 24]
    assert updates_done(folder / "last.ckpt") == 24
    left = {path.name for path in folder.iterdir()}
    files = {"config.yaml", "metrics.csv", "losses.csv", "last.ckpt", "emulator.safetensors", "done.json"}
    assert left == files | {"closed_forms.json", "data.json", "energy.json", "methods.md", "references.bib"}


def test_the_checkpoint_is_the_average_at_the_best_validation(reference: ExperimentConfig) -> None:
    folder = folder_of(reference)
    rows = read_log(folder / "metrics.csv")
    best = min(rows, key=lambda row: row["validation_score"])
    trained = load_emulator(folder / "emulator.safetensors")
    assert trained.metadata["update"] == best["update"]
    assert trained.metadata["validation_score"] == pytest.approx(best["validation_score"], rel=1e-6)
    assert trained.metadata["experiment"]["training"]["seed"] == 0
    if best["update"] == 24:
        averaged = {n.removeprefix("averaged."): t for n, t in weights(folder).items() if n.startswith("averaged.")}
        assert same(averaged, trained.emulator.state_dict())


def test_training_beats_its_first_guess(reference: ExperimentConfig) -> None:
    # Without noise the ridge regression is exact here; with it the network only has to do no harm.
    rows = read_log(folder_of(reference) / "metrics.csv")
    assert rows[-1]["loss"] < 1.1
    config = replace(reference, name="learning", emulator=GNNConfig(processor=PROCESSOR))
    config = replace(config, training=replace(config.training, updates=60, learning_rate=1e-2, noise=0.0))
    fit(config, progress=False)
    rows = read_log(folder_of(config) / "metrics.csv")
    assert rows[-1]["validation_score"] < 0.5 * rows[0]["validation_score"]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_bits(reference: ExperimentConfig, workers: int) -> None:
    name = f"again-{workers}"
    fit(replace(reference, name=name, training=replace(reference.training, num_workers=workers)), progress=False)
    again = folder_of(reference).with_name(name)
    assert same(weights(again), weights(folder_of(reference)))
    assert log(again) == log(folder_of(reference))


def test_another_seed_gives_other_weights(reference: ExperimentConfig) -> None:
    fit(replace(reference, name="other", training=replace(reference.training, seed=1)), progress=False)
    assert not same(weights(folder_of(reference).with_name("other")), weights(folder_of(reference)))


def test_fitting_leaves_the_callers_random_numbers_alone(reference: ExperimentConfig) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(replace(reference, name="polite", training=replace(reference.training, updates=2)), progress=False)
    assert torch.equal(torch.rand(3), expected)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, update: int) -> None:
    """A user presses control-C once the checkpoint at `update` is written."""
    keep = KeepCheckpoints.on_validation_end

    def keep_then_interrupt(self: KeepCheckpoints, trainer: Any, module: Any) -> None:
        keep(self, trainer, module)
        if trainer.global_step == update:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeepCheckpoints, "on_validation_end", keep_then_interrupt)


@pytest.mark.parametrize("update", [0, 8, 16])
def test_an_interrupted_run_goes_on_bit_for_bit(
    reference: ExperimentConfig, update: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(reference, name=f"interrupted-{update}")
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, update)
        fit(config, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    assert updates_done(folder_of(config) / "last.ckpt") == update
    fit(config, resume="auto", progress=False)
    assert same(weights(folder_of(config)), weights(folder_of(reference)))
    assert log(folder_of(config)) == log(folder_of(reference))
    kept, expected = (read(folder_of(c) / "emulator.safetensors")[0] for c in (config, reference))
    assert same(kept, expected)


@pytest.fixture(scope="module")
def averaging(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """An uninterrupted run that averages its last half, and decays matrices alone."""
    averaged = {"average_last": 0.5, "decayed": "matrices", "optimiser": "muon", "weight_decay": 0.1}
    config = experiment(tmp_path_factory.mktemp("averages"), name="reference", training=averaged)
    fit(config, progress=False)
    return config


def test_an_average_of_the_last_updates_goes_on_bit_for_bit(
    averaging: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(averaging, name="interrupted")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 16)  # of 24, so that four of twelve updates are in the average
        fit(config, progress=False)
    fit(config, resume="auto", progress=False)
    assert any(name.startswith("mean.") for name in weights(folder_of(config)))
    assert same(weights(folder_of(config)), weights(folder_of(averaging)))
    assert log(folder_of(config)) == log(folder_of(averaging))
    kept, expected = (read(folder_of(c) / "emulator.safetensors")[0] for c in (config, averaging))
    assert same(kept, expected)


def test_the_best_of_three_sets_of_weights_is_kept(averaging: ExperimentConfig) -> None:
    trained = load_emulator(folder_of(averaging))
    rows = {row["update"]: row for row in read_log(folder_of(averaging) / "metrics.csv")}
    scores, chosen = trained.metadata["scores_of_weights"], trained.metadata["weights"]
    assert set(scores) == {"moving average", "average of the last", "last"}
    assert scores[chosen] == min(scores.values()) == trained.metadata["validation_score"]
    assert rows[trained.metadata["update"]]["validation_score"] == pytest.approx(scores[chosen], rel=1e-6)
    if trained.metadata["update"] == 24:
        prefix = {"moving average": "averaged.", "average of the last": "mean.", "last": "emulator."}[chosen]
        last = {n.removeprefix(prefix): t for n, t in weights(folder_of(averaging)).items() if n.startswith(prefix)}
        assert same(last, trained.emulator.state_dict())
    text = (folder_of(averaging) / "methods.md").read_text(encoding="utf-8")
    assert "uniform average over the last 50% of the updates [@izmailov2018]" in text
    kept = {"moving average": "their moving average", "average of the last": "that uniform average"}
    assert f"it holds {kept.get(chosen, 'the last weights')}." in text


def test_a_run_that_stopped_between_two_validations_repeats_only_what_it_lost(
    reference: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(reference, name="between")
    step = EmulatorModule.training_step

    def fail_at_twelve(self: EmulatorModule, batch: Any, batch_index: int) -> torch.Tensor:
        if self.global_step == 12:
            raise RuntimeError("the machine fails")
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the machine fails"):
        patch.setattr(EmulatorModule, "training_step", fail_at_twelve)
        fit(config, progress=False)
    taken = []

    def counted(self: EmulatorModule, batch: Any, batch_index: int) -> torch.Tensor:
        taken.append(self.global_step)
        return step(self, batch, batch_index)

    monkeypatch.setattr(EmulatorModule, "training_step", counted)
    fit(config, resume="auto", progress=False)
    assert taken == list(range(8, 24))
    assert same(weights(folder_of(config)), weights(folder_of(reference)))
    assert log(folder_of(config)) == log(folder_of(reference))


def test_updates_that_are_no_multiple_of_the_validations_end_in_one(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 11}, validation={"every": 4})
    fit(config, progress=False)
    assert [row[0] for row in log(folder_of(config))] == [0, 4, 8, 11]
    assert updates_done(folder_of(config) / "last.ckpt") == 11


def test_a_run_shorter_than_the_validation_interval_is_validated_once(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 3}, validation={"every": 100})
    fit(config, progress=False)
    assert [row[0] for row in log(folder_of(config))] == [0, 3]


def test_a_run_that_was_done_but_for_its_last_word_ends(reference: ExperimentConfig) -> None:
    config = replace(reference, name="unsaid", training=replace(reference.training, updates=8))
    fit(config, progress=False)
    (folder_of(config) / "done.json").unlink()
    before, rows = weights(folder_of(config)), log(folder_of(config))
    fit(config, resume="auto", progress=False)
    assert (folder_of(config) / "done.json").is_file()
    assert same(weights(folder_of(config)), before) and log(folder_of(config)) == rows


def test_a_finished_run_comes_back_as_it_is(reference: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.runs.fit.PreparedData", None)  # nothing is opened, nothing trained
    trained = fit(reference, resume="auto", progress=False)
    assert trained.name == "reference"


def test_a_folder_into_which_another_process_fits_is_refused_but_not_to_its_ranks(
    reference: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_another(folder_of(reference), folder=True):
        with pytest.raises(MeshcastError, match="reference is being written by process"):
            fit(reference, resume="auto", progress=False)
        monkeypatch.setenv("LOCAL_RANK", "1")  # a further process of the run that holds it
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        two = replace(reference, training=replace(reference.training, devices=2, batch_size=2))
        assert fit(two, resume="auto", progress=False).name == "reference"


def test_a_name_never_leaves_the_output_folder(reference: ExperimentConfig) -> None:
    for name in ("", "..", ".", " ", "/tmp/x", "../x", "a/b", "a\\b", "a\0b", "a\nb", "NUL", "con.txt", "ä" * 100):
        with pytest.raises(MeshcastError, match="names a folder within output"):
            fit(replace(reference, name=name), progress=False)
    assert folder_named("runs", "U-Net, 3.5 levels (ä)") == Path("runs/U-Net, 3.5 levels (ä)")


def test_a_folder_that_holds_a_run_is_not_overwritten(reference: ExperimentConfig) -> None:
    with pytest.raises(MeshcastError, match=r"already holds a run.*resume=auto"):
        fit(reference, progress=False)
    other = replace(reference, training=replace(reference.training, learning_rate=1e-4))
    with pytest.raises(MeshcastError, match=r"(?s)another.*learning_rate: 0\.002 before, 0\.0001 now"):
        fit(other, resume="auto", progress=False)


@pytest.mark.parametrize("setting", [{"strategy": "none"}, {"precision": "8"}, {"accelerator": "abacus"}])
def test_what_lightning_cannot_do_is_said_in_one_message(tmp_path: Path, setting: dict[str, str]) -> None:
    with pytest.raises(MeshcastError, match="Lightning cannot train with accelerator"):
        fit(experiment(tmp_path, training=setting), progress=False)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(self: L.Trainer, path: Path) -> None:
        if self.global_step == 16:
            Path(path).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path)

    save = L.Trainer.save_checkpoint
    config = experiment(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(MeshcastError, match="No room left: the disk is full"):
        patch.setattr(L.Trainer, "save_checkpoint", fill)
        fit(config, progress=False)
    assert updates_done(folder_of(config) / "last.ckpt") == 8
    assert not list(folder_of(config).glob("*.part")) and not list(folder_of(config).glob(".*"))
    fit(config, resume="auto", progress=False)


def test_a_run_needs_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR may be full or absent: its faults were laid on the run's folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    config = experiment(tmp_path, training={"updates": 1})
    fit(config, progress=False)
    assert updates_done(folder_of(config) / "last.ckpt") == 1


def test_parts_with_different_time_steps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path)
    opened = DataPart.open
    hourly = TimeStep.parse("1h")

    def mixed(self: DataPart) -> Any:
        return replace(opened(self), time_step=hourly) if self == config.data.validation else opened(self)

    monkeypatch.setattr(DataPart, "open", mixed)
    with pytest.raises(MeshcastError, match=r"1 frame .*validation .*1h"):
        fit(config, progress=False)


def test_a_run_that_never_began_may_be_mended(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 2})
    wrong = replace(config, task=replace(config.task, prognostic=("v",)))
    with pytest.raises(MeshcastError, match="has no v; it holds u"):
        fit(wrong, progress=False)
    fit(config, progress=False)
    assert load(ExperimentConfig, folder_of(config) / "config.yaml") == config


@pytest.mark.slow  # tests/meshcast/test_interrupted.py kills a training among the fast ones
def test_a_run_killed_without_a_word_goes_on_bit_for_bit(reference: ExperimentConfig) -> None:
    config = replace(reference, name="killed")
    script = textwrap.dedent(f"""
        import os, signal
        import torch
        torch.set_num_threads(1)
        from emulator.foundation.configuration import load
        from training.optimisation.callbacks import KeepCheckpoints
        from training.experiment import DataPart, ExperimentConfig
        from training.runs.fit import fit
        keep = KeepCheckpoints.on_validation_end
        def keep_then_die(self, trainer, module):
            keep(self, trainer, module)
            if trainer.global_step == 16:
                os.kill(os.getpid(), signal.SIGKILL)
        KeepCheckpoints.on_validation_end = keep_then_die
        config = load(ExperimentConfig, {str(folder_of(reference) / "config.yaml")!r}, ["name=killed"])
        fit(config, progress=False)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HUNG)
    assert done.returncode == -signal.SIGKILL, done.stderr
    fit(config, resume="auto", progress=False)
    assert same(weights(folder_of(config)), weights(folder_of(reference)))
    assert log(folder_of(config)) == log(folder_of(reference))


class Payload:
    """What a hostile file would run on being unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_in_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 2})
    fit(config, progress=False)
    folder, target = folder_of(config), tmp_path / "executed"
    hostile = {"global_step": 1, "state_dict": Payload(target)}

    (folder / "done.json").unlink()
    torch.save(hostile, tmp_path / "zipped")
    (tmp_path / "plain").write_bytes(pickle.dumps(hostile, protocol=2))
    for payload in (tmp_path / "zipped", tmp_path / "plain"):
        shutil.copy(payload, folder / "last.ckpt")
        with pytest.raises(MeshcastError, match="cannot be resumed from"):
            fit(config, resume="auto", progress=False)
        with pytest.raises(MeshcastError, match="pickles never are"):
            load_emulator(payload)
    assert not target.exists()
    pickle.loads(pickle.dumps(hostile))
    assert target.exists()  # the payload is a real one


def test_a_truncated_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 2})
    fit(config, progress=False)
    last = folder_of(config) / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    (folder_of(config) / "done.json").unlink()
    with pytest.raises(MeshcastError, match="Remove it to start the run again"):
        fit(config, resume="auto", progress=False)


def test_minutes_become_updates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path, training={"minutes": 0.001, "updates": 10_000})
    monkeypatch.setattr(fitting, "time_parts", lambda *args: (0.006, 0.0))
    fit(config, progress=False)
    assert json.loads((folder_of(config) / "budget.json").read_text())["updates"] == 10
    assert log(folder_of(config))[-1][0] == 10

    (folder_of(config) / "done.json").unlink()
    monkeypatch.setattr(fitting, "time_parts", None)  # not asked again
    fit(config, resume="auto", progress=False)
    assert updates_done(folder_of(config) / "last.ckpt") == 10


def test_threads_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path)
    folder, said = folder_of(config), []
    chosen = replace(config, training=replace(config.training, threads=3))
    prepared = prepare(config)
    windows, _ = windows_of(prepared)
    assert fitting.threads_of(prepared, windows, folder, said.append) == 1  # as OMP_NUM_THREADS says of all tests
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert fitting.threads_of(prepare(chosen), windows, folder, said.append) == 3
    assert not said and not folder.exists()
    several = replace(config, training=replace(config.training, devices=2))
    with num_threads(4):
        assert fitting.threads_of(prepare(several), windows, folder, said.append) == 2
        fit(config, progress=False, notice=said.append)
        (line,) = said
        measured = read_json(folder / "budget.json", "")
        assert measured == {"threads": 4 if "all 4" in line else 1}
        monkeypatch.setattr(fitting, "faster_threads", None)  # not asked again
        assert fitting.threads_of(prepared, windows, folder) == measured["threads"]
        runs = [{"config": resolve(settings), "folder": folder.name} for settings in (config, chosen)]
        assert [fitting.threads_of_run(run, folder.parent) for run in runs] == [measured["threads"], 3]
        assert fitting.threads_of_run(None, folder.parent) == 4


@pytest.mark.parametrize("faster", [1, 2])
def test_everything_is_fitted_on_the_threads_that_are_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: int
) -> None:
    seen, build = [], fitting.initial_network
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(fitting, "faster_threads", lambda piece, notice: faster)
    monkeypatch.setattr(fitting, "initial_network", lambda *a: (seen.append(torch.get_num_threads()), build(*a))[1])
    with num_threads(4):
        fit(experiment(tmp_path, emulator=WITH_RIDGE, training={"updates": 2}), progress=False)
        assert dry_run(experiment(tmp_path, name="dry"))["threads"] == faster
    assert seen == [faster, faster]


def test_measuring_threads_changes_no_weight(
    reference: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    measured = replace(reference, output=str(tmp_path))
    monkeypatch.setattr(fitting, "faster_threads", lambda piece, notice: piece() or 1)
    fit(measured, progress=False)
    assert same(weights(folder_of(measured)), weights(folder_of(reference)))


def test_a_run_may_be_resumed_on_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 8)
        fit(config, progress=False)
    fit(replace(config, training=replace(config.training, threads=1)), resume="auto", progress=False)
    assert (folder_of(config) / "done.json").is_file()


def test_a_curriculum_with_muon_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"curriculum": ((0.5, 1), (0.5, 3)), "optimiser": "muon", "pushforward": 1}
    whole = experiment(tmp_path, name="whole", training=settings)
    fit(whole, progress=False)
    config = replace(whole, name="in-two")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 8)
        fit(config, progress=False)
    fit(config, resume="auto", progress=False)
    assert same(weights(folder_of(config)), weights(folder_of(whole)))
    assert log(folder_of(config)) == log(folder_of(whole))
    plain = replace(whole, name="plain", training=replace(whole.training, optimiser="adamw"))
    fit(plain, progress=False)
    assert not same(weights(folder_of(plain)), weights(folder_of(whole)))


def test_a_budget_counts_the_dearer_steps_of_a_curriculum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.optimisation import gradient_descent

    config = experiment(tmp_path, training={"curriculum": ((0.75, 1), (0.25, 3))}, validation={"every": 10})

    def rehearse(untrained: Untrained, updates: int) -> Rehearsal:
        unroll = untrained.config.training.unroll_at(0)
        laps = [9.0, 9.0] + [float(unroll)] * (updates - 2)
        return Rehearsal(tuple(map(Seconds, laps)), Seconds(5.0))

    monkeypatch.setattr(gradient_descent, "rehearse", rehearse)
    with fitting.untrained_on_threads(prepare(config)) as untrained:
        assert fitting.time_updates(untrained) == 0.75 * 1 + 0.25 * 3 + 5.0 / 10


def test_a_budget_is_what_was_timed(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"minutes": 0.005})
    fit(config, progress=False)
    found = json.loads((folder_of(config) / "budget.json").read_text())
    assert found["updates"] == max(1, int(0.3 / found["seconds_per_update"])) == log(folder_of(config))[-1][0]


def test_timing_updates_changes_nothing(tmp_path: Path) -> None:
    with fitting.untrained_on_threads(prepare(experiment(tmp_path))) as untrained:
        before = {name: value.clone() for name, value in untrained.emulator.state_dict().items()}
        assert 0 < fitting.time_updates(untrained, updates=3) < 1
        assert same(before, untrained.emulator.state_dict())


def test_mixed_precision_trains(tmp_path: Path) -> None:
    config = experiment(tmp_path, emulator=WITH_RIDGE, training={"precision": "bf16-mixed"})
    fit(config, progress=False)
    rows = read_log(folder_of(config) / "metrics.csv")
    assert rows[-1]["loss"] < 1.1
    trained = load_emulator(folder_of(config) / "emulator.safetensors")
    assert all(value.dtype != torch.bfloat16 for value in trained.emulator.state_dict().values())


def test_a_closed_form_is_fitted_saved_and_not_fitted_again(tmp_path: Path) -> None:
    config = experiment(tmp_path, emulator=PersistenceConfig())
    fit(config, progress=False)
    assert (folder_of(config) / "done.json").is_file()
    assert type(fit(config, resume="auto").emulator).__name__ == "Persistence"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    config = experiment(tmp_path)
    said = dry_run(config)
    assert said["windows"] == 4 * 11 and said["parameters"] > 0
    assert not folder_of(config).exists()


# Leakage --------------------------------------------------------------------------------------------------------------


def split_by_date(tmp_path: Path, name: str, change: float) -> ExperimentConfig:
    """One dataset whose last dates are validation and test; `change` is added there, never in the training part."""
    values = np.load(experiment(tmp_path / name).data.train.source)
    values = np.concatenate([values, values[:, ::-1]], axis=1)
    values[:, 12:] += change
    parts = {"train": values[:, :12], "valid": values[:, 12:]}
    for part, part_values in parts.items():
        np.save(tmp_path / f"{name}_{part}.npy", part_values)
    config = experiment(tmp_path / name, name=name, emulator=WITH_RIDGE)
    data = replace(
        config.data,
        train=replace(config.data.train, source=str(tmp_path / f"{name}_train.npy")),
        validation=replace(config.data.validation, source=str(tmp_path / f"{name}_valid.npy")),
    )
    return replace(config, data=data, emulator=replace(WITH_RIDGE, node_statistics=True))


def test_later_values_change_neither_statistics_nor_first_guess_nor_weights(tmp_path: Path) -> None:
    runs = [split_by_date(tmp_path, name, change) for name, change in (("as-it-was", 0.0), ("changed", 5.0))]
    trained = [fit(config, progress=False) for config in runs]
    first, second = (weights(folder_of(config)) for config in runs)
    assert any(name.startswith("emulator.first_guess.weights") for name in first)
    assert any(name.startswith("emulator.inputs.") for name in first)
    assert same(first, second)
    for array in trained[0].statistics.arrays():
        np.testing.assert_array_equal(trained[0].statistics.arrays()[array], trained[1].statistics.arrays()[array])
    scores = [[row[3] for row in log(folder_of(config))] for config in runs]
    assert scores[0] != scores[1]  # validation does see them, to choose what is kept


def test_earlier_values_do_change_them(tmp_path: Path) -> None:
    """So that the test above could fail."""
    one, other = split_by_date(tmp_path, "one", 0.0), split_by_date(tmp_path, "other", 0.0)
    path = Path(str(other.data.train.source))
    np.save(path, np.load(path) + 5.0)
    for config in (one, other):
        fit(config, progress=False)
    assert not same(weights(folder_of(one)), weights(folder_of(other)))
