"""A comparison ranks ours, closed forms and a researcher's own models on the same starts."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from emulator.build import load_emulator
from emulator.checkpoint import read
from emulator.data.arrays import ArrayFields
from emulator.data.sources import in_window
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.normalise import Statistics
from emulator.plugins import find_plugin, load_plugins
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from meshcast.commands.compare import compare as command
from meshcast.console import PARTIAL
from tests.emulator.test_boundary import WINDOW, globe
from tests.locks import held_by_another
from tests.training.comparisons import PLUGINS, config_in, emulator_of, seeds_of, study_runs, write_source
from training import experiment
from training.comparison import compare as comparing
from training.comparison.compare import CompareConfig, Comparison, compare, expect
from training.comparison.files import ranking_lines, take_folder, to_plain, write_files
from training.preparation import prepared
from training.runs.citations import keys_in
from training.runs.energy import read_energy


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def compared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Comparison]:
    config = config_in(tmp_path_factory.mktemp("compared"), source)
    return config, compare(config, progress=False)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports take seconds; one test of them is enough."""
    monkeypatch.setattr(comparing, "write_comparison", lambda *given, **options: None)


def table(comparison: Comparison) -> list[object]:
    """The ranking of the rows and of their seeds."""
    seeds = [(seed.label, seed.status, seed.reason, seed.score) for seed in comparison.ranked_seeds]
    return [*ranking_lines(comparison), *seeds]


def test_plugins_are_ranked_beside_ridge_and_persistence(compared: tuple[CompareConfig, Comparison]) -> None:
    _, comparison = compared
    rows = seeds_of(comparison)
    seeded = {f"{network} (seed {seed})" for network in ("gnn", "convolution") for seed in (0, 1)}
    assert set(rows) == seeded | {"ridge", "spectral", "persistence"}
    scores = [seed.score.value for seed in comparison.ranked_seeds]
    assert scores == sorted(scores)  # type: ignore[type-var]
    assert comparison.ranked[0].label == "spectral"  # exact for advection, where ridge at radius 3 cannot reach
    assert rows["spectral"].score.value < 1e-4 < rows["ridge"].score.value < rows["persistence"].score.value  # type: ignore[operator]
    assert rows["spectral"].parameters == {"trainable": 0, "fixed": 2 * 17}
    assert rows["convolution (seed 0)"].run["config"]["training"]["updates"] == 5  # type: ignore[index]
    assert comparison.reference == "gnn" and rows["gnn (seed 0)"].score.difference is None
    difference = rows["spectral"].score.value - rows["gnn (seed 0)"].score.value  # type: ignore[operator]
    assert rows["spectral"].score.difference == pytest.approx(difference)
    lower, upper = rows["spectral"].score.difference_interval  # type: ignore[misc]
    assert lower < difference < upper < 0


def test_every_row_starts_from_the_same_states(compared: tuple[CompareConfig, Comparison], source: Path) -> None:
    _, comparison = compared
    emulators = comparison.verification.emulators
    assert len(emulators) == 7
    for scores in emulators:
        assert scores.trajectory.tolist() == [0, 1, 2, 4, 5]  # five of six, spread
        assert np.array_equal(scores.init_time, emulators[0].init_time)
        assert scores.verified.all() and scores.lead_steps.tolist() == list(range(1, 7))
    truth = np.load(source / "test.npy")[[0, 1, 2, 4, 5], :7, 0]
    error = np.linalg.norm(truth[:, :1] - truth[:, 1:], axis=2) / np.linalg.norm(truth[:, 1:], axis=2)
    persistence = seeds_of(comparison)["persistence"]
    assert persistence.score.value == pytest.approx(np.exp(np.log(error.mean(0)).mean()), rel=1e-5)


def test_a_plugin_loads_from_its_checkpoint_and_forecasts_the_same(
    compared: tuple[CompareConfig, Comparison], source: Path, tmp_path: Path, without_pictures: None
) -> None:
    config, comparison = compared
    paths = {label: emulator_of(seed, config.results) for label, seed in seeds_of(comparison).items()}
    chosen = {"spectral": paths["spectral"], "convolution": paths["convolution (seed 1)"].parent}
    rows = ", ".join(f"{label}: {{checkpoint: {path}}}" for label, path in chosen.items())
    again = compare(config_in(tmp_path, source, f"rows={{{rows}}}"), progress=False)
    scores, found = (
        {label: seed.score.value for label, seed in seeds_of(each).items()} for each in (comparison, again)
    )
    assert found["spectral"] == scores["spectral"]
    assert found["convolution"] == scores["convolution (seed 1)"]
    assert found["persistence"] == scores["persistence"]


def test_an_interrupted_comparison_ends_with_the_same_table(
    compared: tuple[CompareConfig, Comparison], source: Path, tmp_path: Path, without_pictures: None
) -> None:
    config = config_in(tmp_path, source)

    def killed(text: str) -> None:
        if text.startswith("[2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, progress=False, say=killed)
    said: list[str] = []
    resumed = compare(config, progress=False, say=said.append)
    assert said[0] == "6 of 7 runs left, a moment each."
    assert said[1].startswith("[1/7] gnn, seed 0: done") and said[2] == "[2/7] gnn, seed 1 ..."

    assert table(resumed) == table(compared[1])


def test_one_report_tells_it_all(compared: tuple[CompareConfig, Comparison]) -> None:
    _, comparison = compared
    page = (comparison.folder / "report.html").read_text()
    assert all(label in page for label in seeds_of(comparison))
    assert "loss.png" not in page and (comparison.folder / "loss.png").is_file()
    written = json.loads((comparison.folder / "comparison.json").read_text())
    assert [row["label"] for row in written["rows"]] == list(seeds_of(comparison))
    lines = {line["label"]: line for line in written["lines"]}
    assert next(iter(lines)) == "spectral" and lines["gnn"]["seeds"] == 2
    scores = {row["label"]: row["score"] for row in written["rows"]}
    seeds = [scores[f"gnn (seed {seed})"] for seed in (0, 1)]
    assert lines["gnn"]["score"] == pytest.approx(np.sqrt(seeds[0] * seeds[1]))
    assert (lines["gnn"]["lowest"], lines["gnn"]["highest"]) == (min(seeds), max(seeds))
    assert lines["spectral"]["ratio"] == pytest.approx(scores["spectral"] / lines["gnn"]["score"])
    about = written["about"]
    assert about["convolution"]["differences"] == ["training.updates 5 where the others have 4"]
    assert about["gnn"]["inference_seconds"] > 0 and len(about["gnn"]["training_seconds"]) == 2
    assert set(about["ridge"]["settings"]) == {"radius", "penalty"}
    table = (comparison.folder / "rows.csv").read_text().splitlines()
    assert len(table) == 1 + 5 + 7 and table[0].startswith("label,seed,status,score")
    ridge = written["rmse"]["ridge"]["u"]
    assert ridge["difference_lower"][0] <= ridge["difference_estimate"][0] <= ridge["difference_upper"][0] < 0
    assert load(CompareConfig, comparison.folder / "compare.yaml").seeds == (0, 1)


def test_the_command_takes_plugins_and_prints_for_machines(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Typer()
    app.command()(command)
    plugins = {"spectral": "spectral regression", "net": "circular convolution"}
    rows = ", ".join(f"{label}: {{emulator: {{kind: plugin, name: {name}}}}}" for label, name in plugins.items())
    arguments = [str(source / "compare.yaml"), f"rows={{{rows}}}", "seeds=[0]"]
    arguments += [text for path in PLUGINS for text in ("--plugin", str(path))]
    finished = CliRunner().invoke(app, [*arguments, "--json"])
    assert finished.exit_code == 0, finished.output
    assert {row["label"] for row in json.loads(finished.stdout)["rows"]} == {"spectral", "net", "persistence"}
    assert "persistence" in CliRunner().invoke(app, arguments).stdout
    dry = CliRunner().invoke(app, [*arguments, "seeds=[0, 1]", "--dry-run"])
    assert "1 of 4 runs left" in dry.output and "Wrote" not in dry.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "runs"]


def test_an_installed_package_brings_its_emulator_by_entry_point(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PLUGINS[1].read_text()
    (tmp_path / "waves_package.py").write_text(text.replace("SpectralRegression", "Waves"))
    information = tmp_path / "waves_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: waves-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[meshcast.emulators]\ninstalled waves = waves_package:Waves\n")
    row = "rows={waves: {emulator: {kind: plugin, name: installed waves}}}"
    config = config_in(tmp_path, source, row)
    with pytest.raises(MeshcastError, match="No plug-in is called 'installed waves'"):
        compare(config, progress=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("waves-package") == "1.0"
    comparison = compare(config, progress=False)
    assert comparison.ranked[0].label == "waves"
    trained = load_emulator(emulator_of(comparison.ranked_seeds[0], config.results))
    assert type(trained.emulator) is find_plugin("installed waves")


def test_a_row_that_fails_is_named_and_the_others_are_ranked(
    source: Path, tmp_path: Path, without_pictures: None
) -> None:
    (tmp_path / "half.py").write_text(
        "class Half:\n"
        "    step = arrays = from_arrays = None\n"
        "    def fit(task, part): raise RuntimeError('singular matrix')\n"
        "EMULATORS = {'half': Half}\n"
    )
    load_plugins([tmp_path / "half.py"])
    config = config_in(tmp_path, source, "rows={half: {emulator: {kind: plugin, name: half}}}")
    comparison = compare(config, progress=False)
    assert [(row.label, row.status) for row in comparison.ranked] == [("persistence", "done"), ("half", "failed")]
    assert comparison["half"].reasons == ("seed 0: RuntimeError: singular matrix",)
    assert comparison.reference == "persistence"
    app = Typer()
    app.command()(command)
    places = [f"output={config.output}", f"results={config.results}"]
    rows = "rows={half: {emulator: {kind: plugin, name: half}}}"
    finished = CliRunner().invoke(
        app, [str(source / "compare.yaml"), rows, *places, "--plugin", str(tmp_path / "half.py")]
    )
    assert finished.exit_code == PARTIAL and "(failed)" in finished.output
    said = " ".join(finished.output.split())
    assert "half failed: seed 0: RuntimeError: singular matrix" in said
    assert "1 of 2 rows failed: half. Start the comparison again to repeat their runs alone." in said


def test_forecasts_run_on_the_threads_of_their_run(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, forecast_from = [], comparing.forecast_from
    monkeypatch.setattr(comparing, "threads_of_run", lambda run, results: 3 if run["label"] == "spectral" else 2)
    monkeypatch.setattr(
        comparing,
        "forecast_from",
        lambda seed, *given: seen.append((seed.label, torch.get_num_threads())) or forecast_from(seed, *given),
    )
    row = "rows={spectral: {emulator: {kind: plugin, name: spectral regression}}}"
    compare(config_in(tmp_path, source, row), progress=False)
    assert seen == [("spectral", 3), ("persistence", 2)]


def test_one_lead_time_without_error_does_not_win(source: Path, tmp_path: Path, without_pictures: None) -> None:
    """Eight steps of four cells are once around the ring of 32: persistence is exact there."""
    row = "rows={spectral: {emulator: {kind: plugin, name: spectral regression}}}"
    comparison = compare(config_in(tmp_path, source, row, "forecast.steps=8"), progress=False)
    persistence = comparison.verification["persistence"].mean("nrmse")[:, 0]
    assert persistence[-1] < 1e-7 < 0.5 < persistence[:-1].min()
    assert [row.label for row in comparison.ranked] == ["spectral", "persistence"]
    assert comparison["persistence"].score.value > 0.1  # type: ignore[operator]


def test_real_data_start_every_so_many_steps(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = np.arange(60)
    mesh = latlon(np.linspace(55, 50, 3), np.linspace(0, 6, 4))
    weather = 280 + np.cos(2 * np.pi * hours[:, None, None, None] / 24 + mesh.longitudes[:, None] / 9)
    fields = ArrayFields(weather.astype(np.float32), ("2t",), ("K",), mesh, TimeStep(3600), 3600 * hours, "member")
    monkeypatch.setattr(comparing, "refuse_scores_of_learned", lambda *given: None)  # one series is every part here
    monkeypatch.setattr("training.experiment.open_fields", lambda *arguments, **options: fields)
    rows = "rows={hourly: {emulator: {kind: climatology, period: hour}}, ridge: {emulator: {kind: ridge, radii: [0]}}}"
    overrides = [rows, "task.prognostic=[2t]", "validation.score=rmse", "task.history=3"]
    config = config_in(tmp_path, source, *overrides, "forecast={steps: 6, every: 12}")
    comparison = compare(config, progress=False)
    assert comparison.verification.emulators[0].init_time.tolist() == [3600 * hour for hour in (2, 14, 26, 38, 50)]
    assert "acc" in comparison.verification.emulators[0].metrics
    overrides.append("rows.hourly={emulator: {kind: recent_mean, period: hour, steps: 10}}")
    config = config_in(tmp_path, source, *overrides, "forecast={steps: 6, every: 12}", "name=recent")
    comparison = compare(config, progress=False)  # the row with the longest history decides
    for scores in comparison.verification.emulators:
        assert scores.init_time.tolist() == [3600 * hour for hour in (9, 21, 33, 45)]


def test_data_are_opened_and_prepared_once_for_all_rows_trials_and_seeds(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def count(place: object, name: str) -> None:
        original = getattr(place, name)

        def counted(*given: object, **options: object) -> object:
            counts[name] += 1
            return original(*given, **options)

        monkeypatch.setattr(place, name, counted)

    for place, name in (
        (experiment, "open_fields"), (prepared, "fingerprint"), (prepared, "forcings_of"), (Statistics, "of"),
    ):  # fmt: skip
        count(place, name)
    tuning = "tuning={learning_rate: [1.0e-3, 1.0e-2], updates: 2}"
    comparison = compare(config_in(tmp_path, source, tuning), progress=False)
    assert (len(comparison.rows), len(comparison.trials), len(comparison.ranked_seeds)) == (5, 4, 7)
    # Three splits are opened; two of them are learnt from; statistics come from one.
    assert counts == {"open_fields": 3, "fingerprint": 2, "forcings_of": 2, "of": 1}


def test_a_window_is_cut_out_of_every_part_of_a_comparison(
    source: Path, tmp_path: Path, without_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = globe(times=8, rows=2)
    monkeypatch.setattr(comparing, "refuse_scores_of_learned", lambda *given: None)  # one series is every part here
    monkeypatch.setattr("training.experiment.open_fields", lambda *given, window, **options: in_window(fields, window))
    rows = "rows={climatology: {emulator: {kind: climatology, period: none}}}"
    window = f"data.window={{kind: cap, centre: {list(WINDOW.centre)}, radius_km: {WINDOW.radius_km}, " + (
        f"boundary_km: {WINDOW.boundary_km}}}"
    )
    overrides = [rows, window, "task.prognostic=[h, u, v]", "validation.score=rmse"]
    comparison = compare(config_in(tmp_path, source, *overrides, "forecast={steps: 3}"), progress=False)
    trained = load_emulator(emulator_of(comparison.ranked_seeds[0], tmp_path / "results"))
    assert trained.emulator.mesh.same_nodes(in_window(fields, WINDOW).mesh)


@pytest.mark.parametrize(
    ("facts", "overrides"),
    [
        ("rows.gnn.emulator.processor", ["rows={gnn: {emulator: {kind: gnn, procesor: {}}}}"]),
        ("persistence gnn", ["rows={gnn: {emulator: {kind: gn}}}"]),
        ("name folder", ["name=../elsewhere"]),
        ("name folder", ["name='..'"]),
        ("rows.cnn emulator checkpoint forecast_file none", ["rows.cnn.training.updates=3"]),
        ("rows.gnn emulator checkpoint", ["rows.gnn.checkpoint=runs/gnn"]),
        ("rows.old history emulator", ["rows={old: {checkpoint: runs/gnn, history: 2}}"]),
        ("rows.old rename forecast_file", ["rows={old: {checkpoint: runs/gnn, rename: {v: u}}}"]),
        ("rows.gnn.training learning_rate", ["rows.gnn.training={learning_rat: 3}"]),
        ("seeds different", ["seeds=[1, 1]"]),
        ("seeds 4294967296", ["seeds=[4294967296]"]),
        ("tuning.seed -1", ["tuning={learning_rate: [1.0e-3], seed: -1}"]),
        ("parameters 0", ["parameters=0"]),
        ("tuning learning_rate axes", ["tuning={seed: 3}"]),
        (
            "tuning grid training.learning_rate",
            ["tuning={learning_rate: [1.0e-3]}", "rows.gnn.grid={training.learning_rate: [0.1]}"],
        ),
        ("tuning.axes training.seed", ["tuning={axes: {training.seed: [1, 2]}}"]),
        ("rows.gnn training.seed seeds", ["rows.gnn.training={seed: 3}"]),
        ("rows.gnn training.seed grid seeds", ["rows.gnn.grid={training.seed: [0, 1]}"]),
        ("parameters tuning.axes emulator.width", ["tuning={axes: {emulator.width: [8]}}", "parameters=500"]),
        ("gnn processor.latent_size", ["rows.gnn.grid={processor.latent_size: [8, 16]}", "parameters=500"]),
        ("tuning gnn emulator.processor", ["tuning={axes: {emulator.procesor.width: [1]}}"]),
        ("grid gnn emulator.processor.kind", ["rows.gnn.grid={processor.knd: [kernel]}"]),
        ("rows.gnn noisy noise", ["rows.gnn.grid={training.noisy: [1]}"]),
        ("grid.processor.kind", ["rows.gnn.grid={processor.kind: []}"]),
        ("task.history 9 gnn training validation test 10", ["task.history=9"]),
        ("task.history 12 gnn", ["rows.gnn.history=12"]),
        ("forecast.steps 0", ["forecast.steps=0"]),
        ("data.test.source", ["data.test=null"]),
        ("1 history 50 steps", ["forecast.steps=50"]),
        ("v u", ["task.prognostic=[v]"]),
        ("label", ['rows={"": {emulator: {kind: ridge}}}']),
        ("label", ['rows={"two\\nlines": {emulator: {kind: ridge}}}']),
        ("label", ['rows={"$\\\\foo$": {emulator: {kind: ridge}}}']),
        ("compare.yaml write", ["results={source}/compare.yaml"]),
        ("label persistence", ["rows={persistence: {emulator: {kind: ridge}}}"]),
        ("checkpoint nowhere", ["rows={old: {checkpoint: nowhere}}"]),
    ],
)
def test_what_does_not_fit_together_is_refused_before_any_training(
    facts: str, overrides: list[str], source: Path, tmp_path: Path
) -> None:
    """Each message names the keys and values at fault, and writes nothing."""
    with pytest.raises(MeshcastError) as refused:
        compare(
            config_in(tmp_path, source, *(text.replace("{source}", str(source)) for text in overrides)), progress=False
        )
    words = set(re.findall(r"[\w.-]*\w", str(refused.value).lower()))
    assert {fact.lower() for fact in facts.split()} - words == set(), refused.value
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()


def test_a_checkpoint_of_another_mesh_is_refused(
    compared: tuple[CompareConfig, Comparison], source: Path, tmp_path: Path
) -> None:
    config, comparison = compared
    path = emulator_of(comparison["ridge"].seeds[0], config.results)
    np.save(tmp_path / "test.npy", np.load(source / "test.npy")[..., ::2])
    np.save(tmp_path / "train.npy", np.load(source / "train.npy")[..., ::2])
    overrides = [f"rows={{old: {{checkpoint: {path}}}}}"]
    overrides += [f"data.test.source={tmp_path / 'test.npy'}"]
    with pytest.raises(MeshcastError, match=r"Training data on a ring of 32 .* test data on a ring of 16"):
        compare(config_in(tmp_path, source, *overrides))
    overrides += [f"data.{part}.source={tmp_path / 'train.npy'}" for part in ("train", "validation")]
    with pytest.raises(MeshcastError, match=r"old cannot forecast .*it lives on a ring of 32"):
        compare(config_in(tmp_path, source, *overrides))


def test_a_change_of_the_test_part_trains_nothing_anew(source: Path, tmp_path: Path) -> None:
    one, other = (study_runs(config_in(tmp_path, source, f"data.test.source={name}")) for name in ("a.npy", "b.npy"))
    assert [run.experiment for run in one] == [run.experiment for run in other]
    assert isinstance(one[0].config.emulator, GNNConfig)


def test_two_comparisons_under_one_name_are_told_apart(
    compared: tuple[CompareConfig, Comparison], source: Path
) -> None:
    config, comparison = compared
    other = replace(config, seeds=(0,), tracking=replace(config.tracking, project="elsewhere"))
    with pytest.raises(MeshcastError, match=r"tiny holds another comparison; seeds differs\. Choose another name"):
        compare(other, progress=False)
    assert take_folder(other, overwrite=True) == comparison.folder
    # until the new report is whole, the old one stays, and with it what it is of
    assert take_folder(config) == comparison.folder
    write_files(other, comparison)
    with pytest.raises(MeshcastError, match="seeds differs"):
        take_folder(config)
    write_files(config, comparison)
    with held_by_another(comparison.folder, folder=True), pytest.raises(MeshcastError, match="is being written by"):
        compare(config, progress=False)


def test_values_of_the_test_part_reach_no_run_and_no_choice(
    source: Path, tmp_path: Path, without_pictures: None
) -> None:
    """Leakage: with other values in the test part every hash, choice and weight is as it was; the scores are not."""
    tuning = "tuning={learning_rate: [1.0e-3, 1.0e-1], updates: 2}"
    rows = ["rows={gnn: {emulator: {kind: gnn, processor: {num_layers: 1, latent_size: 8, hidden_size: 8}}}}", tuning]
    rows += ["seeds=[0]"]
    np.save(tmp_path / "other.npy", np.load(source / "test.npy")[::-1] ** 2)
    first = compare(config_in(tmp_path / "first", source, *rows), progress=False)
    second = compare(
        config_in(tmp_path / "second", source, *rows, f"data.test.source={tmp_path / 'other.npy'}"), progress=False
    )
    assert [trial.score for trial in first.trials] == [trial.score for trial in second.trials]
    found = [seeds_of(comparison) for comparison in (first, second)]
    for label in ("gnn", "persistence"):
        one, other = (seeds[label].run for seeds in found)
        assert one is not None and other is not None and one["hash"] == other["hash"]
    files = [emulator_of(seeds["gnn"], tmp_path / name / "results")
             for seeds, name in zip(found, ("first", "second"), strict=True)]  # fmt: skip
    weights = [dict(load_emulator(path).emulator.named_parameters()) for path in files]  # type: ignore[attr-defined]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert first.ranked[0].score.value != second.ranked[0].score.value


TUNED = (
    "rows={gnn: {emulator: {kind: gnn, processor: {num_layers: 1, latent_size: 8, hidden_size: 8}}}}",
    "tuning={learning_rate: [1.0e-3, 1.0e-2], updates: 2}",
    "seeds=[0, 1]",
)


class _Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def tuned(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Comparison]:
    """The comparison nobody killed."""
    config = config_in(tmp_path_factory.mktemp("tuned"), source, *TUNED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "write_comparison", lambda *given, **options: None)
        return config, compare(config, progress=False)


@pytest.mark.parametrize("update", [3, 9])  # in the second trial, and in the first run past its first validation
def test_killed_between_updates_it_ends_with_the_same_table_bit_for_bit(
    tuned: tuple[CompareConfig, Comparison], source: Path, tmp_path: Path, without_pictures: None,
    monkeypatch: pytest.MonkeyPatch, update: int,
) -> None:  # fmt: skip
    from training.optimisation.module import EmulatorModule

    whole, config = tuned[1], config_in(tmp_path, source, *TUNED)
    step, done = EmulatorModule.training_step, []

    def killed(module: EmulatorModule, batch: object, index: int) -> torch.Tensor:
        done.append(module.global_step)
        if len(done) == update + 1:
            raise _Killed
        return step(module, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(EmulatorModule, "training_step", killed)
    with pytest.raises(_Killed):
        compare(config, progress=False)
    resumed = compare(config, progress=False)
    assert 2 * 2 + 2 * 4 + 1 <= len(done) <= 2 * 2 + 2 * 4 + 2  # the updates since the last validation are taken again
    assert table(resumed) == table(whole)
    assert [replace(trial, seconds=0) for trial in resumed.trials] == [
        replace(trial, seconds=0) for trial in whole.trials
    ]
    weights = [
        read(emulator_of(seeds_of(found)["gnn (seed 0)"], place.results))[0]
        for place, found in (tuned, (config, resumed))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_truncated_emulator_is_told_and_made_anew(source: Path, tmp_path: Path, without_pictures: None) -> None:
    config = config_in(tmp_path, source, "rows={ridge: {emulator: {kind: ridge}}}")
    whole = compare(config, progress=False)
    path = emulator_of(whole["ridge"].seeds[0], config.results)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MeshcastError, match=r"truncated.* Remove it"):
        compare(config, progress=False)
    path.unlink()
    assert table(compare(config, progress=False)) == table(whole)


def test_a_row_that_diverges_stays_in_the_table(source: Path, tmp_path: Path, without_pictures: None) -> None:
    overrides = [TUNED[0], "rows.gnn.training={learning_rate: 1.0e+30}", "seeds=[0]"]
    comparison = compare(config_in(tmp_path, source, *overrides), progress=False)
    assert {row.label: row.status for row in comparison.rows} == {"gnn": "diverged", "persistence": "done"}
    row = comparison["gnn"]
    (reason,) = row.reasons
    assert reason.startswith("seed 0: The loss of update 2 is nan, on the samples") and len(row.forecast_seeds) == 1
    written = json.loads((comparison.folder / "comparison.json").read_text())
    assert [row["status"] for row in written["rows"] if row["label"] == "gnn"] == ["diverged"]


def test_the_table_of_a_tracked_comparison_is_a_record_of_its_own(
    source: Path, tmp_path: Path, without_pictures: None
) -> None:
    from tests.training.tracking.test_wandb_tracker import read_back, records

    rows = "rows={ridge: {emulator: {kind: ridge}}}"
    config = config_in(tmp_path, source, rows, "tracking={wandb: offline, project: rings}")
    comparison = compare(config, progress=False)
    (path,) = comparison.folder.glob("wandb/offline-run-*/*.wandb")
    assert read_back(path).name == "tiny, table"
    summaries = [record.summary for record in records(path) if record.WhichOneof("record_type") == "summary"]
    summary = {"/".join(item.nested_key) or item.key: item.value_json for found in summaries for item in found.update}
    scores = {row.label: row.score.value for row in comparison.rows}
    assert json.loads(summary["score/ridge"]) == scores["ridge"] < scores["persistence"]  # type: ignore[operator]


@pytest.mark.parametrize("parameters", ["500", "null"])
def test_a_row_without_its_extra_is_named_and_marked_and_the_others_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    rows = "rows={Keras CNN: {emulator: {kind: keras_cnn, num_layers: 2}}, ridge: {emulator: {kind: ridge}}}"
    config = config_in(tmp_path, source, rows, f"parameters={parameters}")
    said: list[str] = []
    remaining = expect(config, say=said.append)
    assert (remaining.runs, remaining.left, remaining.unknown, len(said)) == (2, 2, {}, 1)  # ridge and persistence
    said.clear()
    if parameters == "null":
        monkeypatch.setattr(comparing, "write_comparison", lambda *given, **options: None)
    comparison = compare(config, progress=False, say=said.append)
    needs = "kind: keras_cnn needs TensorFlow: pip install 'meshcast[tensorflow]'."
    assert said[0] == f"Keras CNN is left out: {needs}"
    assert [row.label for row in comparison.ranked] == ["ridge", "persistence", "Keras CNN"]
    assert comparison["Keras CNN"].status == "unavailable" and comparison["Keras CNN"].reasons == (needs,)
    written = to_plain(config, comparison)
    assert written["lines"][-1]["status"] == written["rows"][-1]["status"] == "unavailable"
    assert written["rows"][-1]["reason"] == needs
    if parameters == "null":
        return  # a report takes seconds
    texts = {name: (comparison.folder / name).read_text() for name in ("report.html", "rows.csv", "table.tex")}
    assert all("unavailable" in text for text in texts.values())
    assert "Keras CNN unavailable: kind: keras_cnn needs TensorFlow" in texts["report.html"]


def test_a_test_on_what_is_learned_or_selects_is_refused_before_anything_is_fitted(
    source: Path, tmp_path: Path
) -> None:
    for part, name in (("train", "training"), ("validation", "validation")):
        config = config_in(tmp_path, source, "seeds=[0]")
        config = replace(config, data=replace(config.data, test=getattr(config.data, part)))
        with pytest.raises(MeshcastError, match=rf"test data .* but the {name} data .* stand in both"):
            compare(config, progress=False)
    assert not (tmp_path / "results").exists()


def test_the_protocol_and_the_energy_of_its_rows_lie_beside_the_report(
    compared: tuple[CompareConfig, Comparison],
) -> None:
    config, comparison = compared
    text, bibtex = ((comparison.folder / name).read_text(encoding="utf-8") for name in ("methods.md", "references.bib"))
    assert sorted(keys_in(text)) == re.findall(r"^@\w+\{([\w-]+),", bibtex, re.MULTILINE)
    for said in (
        "“gnn”, an encode-process-decode graph network",
        "“spectral”, the plug-in “spectral regression”",
        "seeds are 0 and 1",
        "the same 5 starts of the test data over 6 steps",
        "Compared are 5 emulators",
    ):
        assert said in text  # fmt: skip
    energy = json.loads((comparison.folder / "comparison.json").read_text())["energy"]
    assert set(energy) == {"gnn", "ridge", "convolution", "spectral", "persistence"}
    runs = [seed.run for row in comparison.rows if row.label == "gnn" for seed in row.seeds]
    taken = [read_energy(Path(config.results) / run["folder"]) for run in runs if run is not None]
    assert len(taken) == 2
    assert energy["gnn"]["kwh"] == pytest.approx(sum(one["kwh"] for one in taken if one is not None))
    assert energy["gnn"]["uncounted"] == 0 and energy["gnn"]["cost"] is None
    assert "<h2>Energy</h2>" in (comparison.folder / "report.html").read_text(encoding="utf-8")
