"""A training that a signal ends keeps what it learned; one that diverges ends, and keeps what was good."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emulator.build import load_emulator
from graphs.errors import MeshcastError
from tests.training.worlds import experiment
from training.early_end import DivergedError, Stopped, seconds_of, stop_requests
from training.experiment import ExperimentConfig, TrainingConfig
from training.metrics_log import read_log
from training.optimisation import validation
from training.optimisation.module import EmulatorModule
from training.resumable import read_checkpoint, updates_done
from training.runs.fit import fit
from training.runs.study import Run, run_study


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """An experiment whose run nobody ended: validations after updates 8, 16 and 22."""
    config = experiment(tmp_path_factory.mktemp("runs"), name="whole", training={"updates": 22})
    fit(config, progress=False)
    return config


def folder_of(config: ExperimentConfig) -> Path:
    return Path(config.output) / config.name


def outcome(config: ExperimentConfig) -> tuple[Any, ...]:
    """Weights and logs of a run, without its times."""
    folder = folder_of(config)
    weights = {name: value.tolist() for name, value in read_checkpoint(folder / "last.ckpt")["state_dict"].items()}
    rows = [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in read_log(folder / "metrics.csv")]
    kept = load_emulator(folder / "emulator.safetensors").emulator.state_dict()  # type: ignore[attr-defined]
    return weights, rows, (folder / "losses.csv").read_text(), {name: value.tolist() for name, value in kept.items()}


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Has this process get a signal in the training step after so many updates."""
    step = EmulatorModule.training_step

    def plan(number: int, update: int) -> None:
        def training_step(self: EmulatorModule, batch: Any, batch_index: int) -> torch.Tensor:
            if self.global_step == update:
                os.kill(os.getpid(), number)
            return step(self, batch, batch_index)

        monkeypatch.setattr(EmulatorModule, "training_step", training_step)

    ignored = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)  # by nohup, say, under which tests are run too
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ignored}
    yield plan
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "update", "kept"),
    [("SIGTERM", 11, 12), ("SIGHUP", 2, 3), ("SIGUSR1", 15, 16), ("SIGTERM", 21, 22), ("SIGALRM", 9, 10)],
)
def test_after_a_signal_the_update_in_progress_is_kept_and_the_run_goes_on_bit_for_bit(
    whole: ExperimentConfig, signalled: Callable[[int, int], None], name: str, update: int, kept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("training.optimisation.callbacks.LOSSES_AFTER", 0.0)  # losses.csv between validations too
    config, said = replace(whole, name=f"{name}-{update}"), []
    if name == "SIGALRM":  # sent as if the hour were over
        config = replace(config, training=replace(whole.training, max_time="1h"))
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        signalled(number, update)
        fit(config, progress=False, notice=said.append)
    assert stopped.value.code == (75 if name == "SIGALRM" else 128 + number)
    cause = "training.max_time" if name == "SIGALRM" else name
    assert f"Ended by {cause}; " in said[-1] and f"last.ckpt keeps update {kept}." in said[-1]
    assert updates_done(folder_of(config) / "last.ckpt") == kept
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    taken: list[int] = []
    step = EmulatorModule.training_step

    def counted(self: EmulatorModule, batch: Any, batch_index: int) -> torch.Tensor:
        taken.append(self.global_step)
        return step(self, batch, batch_index)

    monkeypatch.setattr(EmulatorModule, "training_step", counted)
    fit(config, resume="auto", progress=False)
    assert taken == list(range(kept, 22))
    assert outcome(config) == outcome(whole)


def test_a_validation_is_broken_off_and_made_again(whole: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config, forecast = replace(whole, name="validation"), validation.validation_forecast
    calls: list[int] = []

    def signalled(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # of the start, update 8, update 16
            os.kill(os.getpid(), signal.SIGTERM)
        return forecast(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(validation, "validation_forecast", signalled)
        fit(config, progress=False)
    assert updates_done(folder_of(config) / "last.ckpt") == 16
    assert [row["update"] for row in read_log(folder_of(config) / "metrics.csv")] == [0, 8]
    fit(config, resume="auto", progress=False)
    assert outcome(config) == outcome(whole)


def test_before_the_first_update_nothing_is_kept_and_nothing_lost(
    whole: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = replace(whole, name="early"), []
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr("training.runs.fit.loop_of", lambda config: os.kill(os.getpid(), signal.SIGTERM))
        fit(config, progress=False, notice=said.append)
    assert stopped.value.code == 143 and "nothing new was learned yet" in said[-1]
    fit(config, resume="auto", progress=False)
    assert outcome(config) == outcome(whole)


def test_an_ignored_signal_stays_ignored_and_other_threads_change_no_handler() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with stop_requests():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_alarm_is_set_for_as_long_as_a_training_may_take() -> None:
    with stop_requests("1d11h50m"):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= (24 + 11) * 3600 + 50 * 60
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert [seconds_of(text) for text in ("90m", "45s", "2h 5s")] == [5400, 45, 7205]
    for text in ("", "90", "h", "-1h", "1h1h", "0s", "5m1h", "an hour"):
        with pytest.raises(MeshcastError, match=r"training\.max_time is .*as 11h50m, 90m, 45s or 1d12h"):
            TrainingConfig(max_time=text)


def test_the_second_signal_ends_the_process_at_once() -> None:
    if (child := os.fork()) == 0:
        with stop_requests() as request:
            request.waits = True
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM


@pytest.mark.parametrize("update", [5, 8, 11])
def test_a_loss_that_is_not_finite_ends_the_training_and_what_was_good_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int
) -> None:
    config = experiment(tmp_path)
    loss = EmulatorModule.loss

    def failing(self: EmulatorModule, batch: Any) -> torch.Tensor:
        return loss(self, batch) * (math.nan if self.global_step == update - 1 else 1.0)

    monkeypatch.setattr(EmulatorModule, "loss", failing)
    with pytest.raises(DivergedError, match=rf"loss of update {update} is nan, on the samples from .*1970-.*learning_"):
        fit(config, progress=False)
    folder = folder_of(config)
    assert not (folder / "done.json").exists()
    last = [updates_done(folder / "last.ckpt")] if update > 8 else []
    assert last == ([8] if update > 8 else []) and [row["update"] for row in read_log(folder / "metrics.csv")] == [
        0, *last]  # fmt: skip
    kept = load_emulator(folder / "emulator.safetensors").emulator
    assert all(torch.isfinite(weight).all() for weight in kept.parameters())  # type: ignore[attr-defined]


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = EmulatorModule.configure_gradient_clipping

    def spoil(self: EmulatorModule, *arguments: Any, **named: Any) -> None:
        clip(self, *arguments, **named)
        if self.global_step == 15:  # the sixteenth update, after which validation comes
            next(self.emulator.parameters()).grad.fill_(math.nan)  # type: ignore[union-attr]

    monkeypatch.setattr(EmulatorModule, "configure_gradient_clipping", spoil)
    config = experiment(tmp_path)
    with pytest.raises(MeshcastError, match="weights after update 16 are not finite"):
        fit(config, progress=False)
    assert updates_done(folder_of(config) / "last.ckpt") == 8


def test_a_study_calls_such_a_run_diverged_and_says_where(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"learning_rate": 1e30})
    (result,) = run_study([Run("wild", config)], tmp_path / "results", progress=False)
    assert (result.status == "diverged" and "not finite" in result.reason) or "is nan" in result.reason
    assert load_emulator(result.emulator_path(tmp_path / "results"))
