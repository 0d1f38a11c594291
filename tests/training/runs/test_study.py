"""Studies finish, skip, continue and record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.plugins import PluginConfig, load_plugins
from graphs.errors import MeshcastError
from tests.locks import held_by_another
from training.experiment import (
    DataConfig,
    DataPart,
    ExperimentConfig,
    TaskConfig,
    TrainingConfig,
    ValidationConfig,
)
from training.json_file import write_json
from training.preparation.prepared import PreparedData
from training.runs.fit import fit
from training.runs.run_hash import run_hash
from training.runs.study import Result, Run, count_parameters, progress_of, read_result, run_study


@pytest.fixture
def experiment(tmp_path: Path) -> ExperimentConfig:
    """Waves that travel two nodes a step on a ring of 32, and a network of a few hundred weights."""
    source = str(tmp_path / "waves.npy")
    np.save(source, travelling_waves(trajectories=6, frames=8))
    return ExperimentConfig(
        name="study",
        data=DataConfig(DataPart(source, (0, 4)), DataPart(source, (4, 6))),
        task=TaskConfig(("u",)),
        emulator=GNNConfig(processor=ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8)),
        training=TrainingConfig(updates=6, batch_size=4, warm_up=1),
        validation=ValidationConfig(every=3, steps=3, cases=2, score="nrmse"),
        output=str(tmp_path / "runs"),
    )


def travelling_waves(trajectories: int, frames: int, num_nodes: int = 32, seed: int = 0) -> np.ndarray:
    """[trajectory, frame, channel, node] of waves 1 to 3, two nodes a step."""
    random = np.random.default_rng(seed)
    x = 2 * np.pi * np.arange(num_nodes) / num_nodes
    phase, size = random.uniform(0, 6, (2, trajectories, 3, 1))
    start = (size / 6 * np.cos(np.arange(1, 4)[:, None] * x + phase)).sum(1)
    return np.stack([np.roll(start, 2 * frame, 1) for frame in range(frames)], 1)[:, :, None].astype(np.float32)


def table(results: list[Result]) -> list[tuple[object, ...]]:
    return [(r.label, r.seed, r.status, r.validation_score, r.update, r.parameters) for r in results]


def test_an_interrupted_study_ends_with_the_same_table(tmp_path: Path, experiment: ExperimentConfig) -> None:
    runs = [Run("gnn", experiment, 0), Run("gnn", experiment, 1)]
    runs.append(Run("persistence", replace(experiment, emulator=PersistenceConfig())))
    whole = run_study(runs, tmp_path / "whole", progress=False)

    elsewhere = replace(experiment, output=str(tmp_path / "again"))
    runs = [replace(run, config=replace(run.config, output=elsewhere.output)) for run in runs]
    results = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        run_study(runs, results, progress=False, say=_killed_after_the_first)
    assert len(list(results.iterdir())) == 1
    first = next(results.iterdir()).stat().st_mtime_ns
    said: list[str] = []
    resumed = run_study(runs, results, progress=False, say=said.append)
    assert table(resumed) == table(whole)
    assert "from" in said[0] and said[1] == "[2/3] gnn, seed 1 ..."
    assert min(path.stat().st_mtime_ns for path in results.iterdir()) == first
    assert len(list(results.iterdir())) == 3


def test_a_hash_tells_what_the_data_are_and_not_where_they_lie(tmp_path: Path, experiment: ExperimentConfig) -> None:
    def hashed(text: str, place: str) -> str:
        table, source = tmp_path / f"{place}.csv", tmp_path / f"{place}.npy"
        table.write_text(text)
        source.write_bytes((tmp_path / "waves.npy").read_bytes())
        data = DataConfig(DataPart(str(source), (0, 4)), DataPart(str(source), (4, 6)), forcing_tables=(str(table),))
        run = Run("gnn", replace(experiment, data=data))
        return run_hash(run.experiment, PreparedData().fingerprints(data))

    here = hashed("year,co2\n2000,370\n", "here")
    assert hashed("year,co2\n2000,370\n", "there") == here
    assert hashed("year,co2\n2000,371\n", "there") != here


def _killed_after_the_first(text: str) -> None:
    if text.startswith("[2/"):
        raise KeyboardInterrupt


def test_a_run_killed_between_updates_continues_where_its_checkpoint_stands(
    tmp_path: Path, experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.optimisation.module import EmulatorModule

    whole = run_study([Run("gnn", experiment)], tmp_path / "whole", progress=False)
    done: list[int] = []
    step = EmulatorModule.training_step

    def killed(module: EmulatorModule, batch: object, index: int) -> torch.Tensor:
        if len(done) == 4:
            raise _Killed
        done.append(module.global_step)
        return step(module, batch, index)  # type: ignore[arg-type]

    run = Run("gnn", replace(experiment, output=str(tmp_path / "again")))
    monkeypatch.setattr(EmulatorModule, "training_step", killed)
    with pytest.raises(_Killed):
        run_study([run], tmp_path / "results", progress=False)
    assert not (tmp_path / "results").exists()
    done.clear()
    resumed = run_study([run], tmp_path / "results", progress=False)
    assert done == [3, 4, 5]
    assert table(resumed) == table(whole)
    assert whole[0].processor_seconds is not None
    assert resumed[0].processor_seconds is None, "what ran before is not known"


class _Killed(BaseException):
    pass


def test_a_run_that_fails_or_diverges_is_recorded_and_the_study_goes_on(
    tmp_path: Path, experiment: ExperimentConfig
) -> None:
    (tmp_path / "broken.py").write_text(
        "import torch\n"
        "class Broken(torch.nn.Linear):\n"
        "    def __init__(self, inputs, outputs, mesh): super().__init__(inputs, outputs)\n"
        "    def forward(self, x): raise ValueError('no forward yet')\n"
        "EMULATORS = {'broken': Broken}\n"
    )
    load_plugins([tmp_path / "broken.py"])
    wild = replace(experiment, training=replace(experiment.training, learning_rate=1e30))
    runs = [
        Run("no window", replace(experiment, validation=replace(experiment.validation, steps=50))),
        Run("wild", wild),
        Run("broken", replace(experiment, emulator=PluginConfig("broken"))),
        Run("persistence", replace(experiment, emulator=PersistenceConfig())),
    ]
    found = run_study(runs, tmp_path / "results", progress=False)
    assert [result.status for result in found] == ["failed", "diverged", "failed", "done"]
    assert "50 steps" in found[0].reason
    assert found[2].reason == "ValueError: no forward yet"
    kept = load_emulator(found[1].emulator_path(tmp_path / "results")).emulator
    assert all(torch.isfinite(weight).all() for weight in kept.parameters())  # type: ignore[attr-defined]
    said: list[str] = []
    run_study(runs, tmp_path / "results", progress=False, say=said.append)
    assert [text for text in said if text.endswith("...")] == [
        "[1/4] no window, seed 0 ...",
        "[3/4] broken, seed 0 ...",
    ]


def test_a_run_that_another_process_fits_is_no_failure(tmp_path: Path, experiment: ExperimentConfig) -> None:
    run = Run("persistence", replace(experiment, emulator=PersistenceConfig()))
    [begun] = progress_of([run], tmp_path / "results", PreparedData())
    with held_by_another(run.folder(begun.hash), folder=True), pytest.raises(MeshcastError, match="being written by"):
        run_study([run], tmp_path / "results", progress=False)
    assert not list(tmp_path.glob("results/*"))


def test_what_changes_a_number_changes_the_hash(tmp_path: Path, experiment: ExperimentConfig) -> None:
    ridge = replace(experiment, emulator=RidgeConfig(radii=(2,), penalties=(1e-6,)))

    def hash_of(config: ExperimentConfig, seed: int = 0) -> str:
        return run_study([Run("ridge", config, seed)], tmp_path / "results", progress=False)[0].hash

    first = hash_of(ridge)
    assert hash_of(replace(ridge, name="other", output=str(tmp_path / "elsewhere"))) == first
    assert hash_of(ridge, seed=1) != first
    assert hash_of(replace(ridge, emulator=RidgeConfig(radii=(1,), penalties=(1e-6,)))) != first
    np.save(tmp_path / "waves.npy", travelling_waves(6, 8, seed=1))
    assert hash_of(ridge) != first


def test_a_result_says_how_it_came_about(tmp_path: Path, experiment: ExperimentConfig) -> None:
    (result,) = run_study([Run("gnn/small", experiment, 7)], tmp_path / "results", progress=False)
    written = json.loads((tmp_path / "results" / f"{result.hash}.json").read_text())
    assert written["config"]["training"]["seed"] == 7
    assert written["processor_seconds"] > 0 and written["seconds"] > 0
    assert written["versions"]["torch"] == torch.__version__
    assert written["folder"] == f"../runs/study/gnn-small-seed7-{result.hash[:8]}"
    trained = load_emulator(result.emulator_path(tmp_path / "results"))
    assert written["parameters"] == count_parameters(trained.emulator)
    assert written["validation_score"] == trained.metadata["validation_score"]


def test_weights_are_counted_by_how_they_were_found(tmp_path: Path, experiment: ExperimentConfig) -> None:
    assert isinstance(experiment.emulator, GNNConfig)
    ridge = RidgeConfig(radii=(2,), penalties=(1e-6,))
    corrected = replace(experiment, emulator=replace(experiment.emulator, first_guess=ridge))
    emulator = fit(corrected, progress=False).emulator
    weights = sum(weight.numel() for weight in emulator.parameters())  # type: ignore[attr-defined]
    assert count_parameters(emulator) == {"trainable": weights, "fixed": 5 + 1}
    alone = fit(replace(experiment, name="ridge", emulator=ridge)).emulator
    assert count_parameters(alone) == {"trainable": 0, "fixed": 5 + 1}


def test_what_a_study_cannot_do_is_said_first(tmp_path: Path, experiment: ExperimentConfig) -> None:
    many = replace(experiment, training=replace(experiment.training, devices=2))
    with pytest.raises(MeshcastError, match="meshcast train"):
        run_study([Run("gnn", many)], tmp_path / "results")
    (result,) = run_study([Run("p", replace(experiment, emulator=PersistenceConfig()))], tmp_path, progress=False)
    (tmp_path / f"{result.hash}.json").write_text("{}")
    with pytest.raises(MeshcastError, match="no result of a study"):
        run_study([Run("p", replace(experiment, emulator=PersistenceConfig()))], tmp_path, progress=False)


def test_a_long_label_of_any_alphabet_has_a_folder(tmp_path: Path, experiment: ExperimentConfig) -> None:
    runs = [Run("波" * 200, replace(experiment, emulator=PersistenceConfig()))]
    (result,) = run_study(runs, tmp_path / "results", progress=False)
    assert result.status == "done", result.reason
    assert result.emulator_path(tmp_path / "results").is_file()


def test_a_closed_form_needs_no_minutes(tmp_path: Path, experiment: ExperimentConfig) -> None:
    config = replace(experiment, emulator=PersistenceConfig(), training=replace(experiment.training, minutes=1.0))
    (result,) = run_study([Run("persistence", config)], tmp_path / "results", progress=False, timed=_never)
    assert result.status == "done", result.reason


def _never(run: Run) -> float:
    raise AssertionError(f"{run} was timed")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-40], "is damaged"),
        (lambda text: text.replace('"validation_score": ', '"validation_score": 1'), "does not match its digest"),
        (lambda text: text.replace("diverged", "done"), "does not match its digest"),
        (lambda text: "[]", "holds a list"),
        (lambda text: '{"hash": 3}', r"(?s)no result of a study.*hash: got 3.*label: missing"),
        (lambda text: text.replace('"digest"', '"digits"'), "digits: unknown key"),
    ],
)
def test_a_result_that_was_changed_is_refused_by_name_with_what_to_do(
    tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    found = Result("abc", "wild", 0, "diverged", "runs/wild", {}, {}, validation_score=0.5)
    path = tmp_path / "abc.json"
    write_json(path, asdict(found))
    assert read_result(path) == found
    path.write_text(damage(path.read_text()))
    with pytest.raises(MeshcastError, match=said) as refused:
        read_result(path)
    assert str(path) in str(refused.value) and "Remove it to fit its run again" in str(refused.value)


def test_a_result_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "abc.json", asdict(Result("def", "gnn", 0, "done", "runs/gnn", {}, {})))
    with pytest.raises(MeshcastError, match="result of the run def, not of abc"):
        read_result(tmp_path / "abc.json")
