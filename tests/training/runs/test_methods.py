"""The methods paragraph: it says what the run was, and its BibTeX holds what it cites and nothing else."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from emulator.baselines.first_guess import FirstGuess, guess_in_words
from emulator.baselines.ridge import RidgeConfig
from emulator.build import EMULATORS, load_emulator
from emulator.data.arrays import ArrayFields
from emulator.data.grib_messages import ERA5
from emulator.emulator_config import EmulatorConfig
from emulator.foundation.scaling import Quantile
from emulator.foundation.time_step import TimeStep
from emulator.heating_cycle import HeatingCycle
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig
from emulator.networks.processors.pyg import PyGConfig
from emulator.physics.ring_equations import EquationConfig, KuramotoSivashinsky, equation_in_words
from emulator.physics.shallow_water import Climate, Mountain, ShallowWaterConfig
from emulator.physics.simulate import RingConfig, SimulationConfig, simulate
from emulator.physics.sphere_simulation import SphereSimulationConfig
from emulator.physics.sphere_states import SphereStates
from emulator.task import Task, Variable
from graphs import atomic_file
from graphs.errors import MeshcastError
from graphs.kinds import members_of
from graphs.meshes.ring import ring
from tests.training.worlds import PROCESSOR, TRAINING, experiment
from training.accounting import AccountingConfig
from training.experiment import DataConfig, DataPart
from training.runs import methods
from training.runs.citations import bibliography, escaped, keys_in, known_entries
from training.runs.data_in_words import data_sentences, own_entry, task_sentences
from training.runs.fit import fit
from training.runs.methods import training_sentences

PROJECT = Path(__file__).parents[3]


def keys_of(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{([\w-]+),", bibtex, re.MULTILINE)


def fields(**attributes: str) -> ArrayFields:
    times = np.arange(4, dtype=np.int64) * 3600
    return ArrayFields(
        np.zeros((4, 1, 8, 1), np.float32), ("2t",), ("K",), ring(8), TimeStep(3600), times, "member",
        attributes=attributes, source="/somewhere/private/temperature.nc",
    )  # fmt: skip


def sentences(data: ArrayFields) -> str:
    task = Task((Variable("2t", "prognostic", "K"),), TimeStep(3600))
    return " ".join(data_sentences(data, data, None, task, DataPart("temperature.nc")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that corrects a ridge regression, in Muon, with what energy costs."""
    ridge = RidgeConfig(radii=(1,), penalties=(1e-6,), rollout_steps=3)
    config = experiment(
        tmp_path_factory.mktemp("runs"),
        emulator=GNNConfig(processor=PROCESSOR, first_guess=ridge),
        training={"optimiser": "muon", "seed": 5, "noise": 0.0},
        accounting=AccountingConfig(carbon_intensity=380, price=0.3, currency="EUR"),
    )
    fit(config, progress=False)
    return Path(config.output) / config.name


def test_the_paragraph_is_one_and_says_what_the_run_was(run: Path) -> None:
    text = (run / "methods.md").read_text(encoding="utf-8")
    assert text.count("\n") == 1 and text.endswith(".\n")
    trained = load_emulator(run)
    weights = sum(weight.numel() for weight in trained.emulator.parameters())  # type: ignore[attr-defined]
    for said in (
        "u [1] in steps of 1 frame on a ring of 24 nodes",
        "4 trajectories of 12 times for training and 3 trajectories of 12 times for validation",
        "1 round of messages linear in the sender",
        f"with {weights:,} trainable weights in all, that corrects a ridge regression [@hoerl1970]",
        "Muon [@jordan2024; @liu2025] for the matrices inside it and AdamW [@loshchilov2019]",
        "24 updates of 4 samples at a peak learning rate of 0.002, after a linear rise over 4 updates",
        "The seed is 5",
        "forecast 3 starts of the validation data over 3 steps",
        f"that of update {trained.metadata['update']}, at {trained.metadata['validation_score']:.4g}.",
        "estimated at 10 W for each busy core; ",
        "g of CO2 at 380 g/kWh; ",
        "EUR at 0.3 a kWh.",
        "PyTorch Lightning",
    ):
        assert said in text
    assert "Noise" not in text and str(run.parent) not in text


def test_bibtex_holds_what_the_paragraph_cites_and_nothing_else(run: Path) -> None:
    text, bibtex = ((run / name).read_text(encoding="utf-8") for name in ("methods.md", "references.bib"))
    assert sorted(keys_in(text)) == keys_of(bibtex)
    assert text.count("@") == sum(text.count(f"@{key}") for key in keys_in(text))
    assert {"battaglia2018", "hoerl1970", "jordan2024", "meshcast", "pytorch"} < set(keys_of(bibtex))
    assert not {"sanchezgonzalez2020", "anemoi-datasets", "pyg", "tensorflow"} & set(keys_of(bibtex))
    assert "VERSION" not in bibtex and "unknown" not in bibtex
    assert bibtex.count("{") == bibtex.count("}")


def test_simulated_data_name_equation_and_solver(tmp_path: Path) -> None:
    simulation = SimulationConfig(KuramotoSivashinsky(), 0.5, mesh=RingConfig(24, 16.0), num_trajectories=3,
                                  num_frames=8, output=str(tmp_path / "ks.zarr"))  # fmt: skip
    path = str(simulate(simulation))
    config = replace(experiment(tmp_path), data=DataConfig(DataPart(path, (0, 2)), DataPart(path, (2, 3))))
    fit(config, progress=False)
    text = (tmp_path / "run" / "methods.md").read_text(encoding="utf-8")
    assert ", simulated with Meshcast and read by anemoi-datasets [@anemoi-datasets]: u [1] in steps" in text
    assert "They follow the Kuramoto-Sivashinsky equation (form conservative)" in text
    assert "of order 4 [@cox2002; @kassam2005]." in text
    assert "in steps of 0.5 units of time on a ring of 24 nodes, length 16" in text
    assert "Their licence is CC0-1.0." in text
    assert "anemoi-datasets" in keys_of((tmp_path / "run" / "references.bib").read_text())


def test_the_data_of_a_known_paper_cite_it() -> None:
    data = fields(**ERA5)
    text = sentences(data)
    assert "“ERA5 reanalysis” [@hersbach2020]: 2t [K]" in text and "Their licence is Copernicus." in text
    assert "Attribution: Contains modified Copernicus Climate Change Service information" in text
    assert own_entry(data) == {}


def test_other_data_get_an_entry_of_their_own_in_which_nothing_is_a_command() -> None:
    data = fields(title="Sea & land", attribution="J. D'Oe_{1}, 100 % \\input{x} [@lam2023]", licence="CC-BY-4.0")
    text = sentences(data)
    assert keys_in(text) == ["data"] and "[ @lam2023]" in text
    bibtex = bibliography(text, {}, own_entry(data))
    assert keys_of(bibtex) == ["data"]
    assert r"title = {Sea \& land}" in bibtex and "note = {Licence: CC-BY-4.0}" in bibtex
    assert r"author = {{J. D'Oe\_\{1\}, 100 \% \textbackslash{}input\{x\} [@lam2023]}}" in bibtex
    assert escaped("a~b^c#$") == r"a\textasciitilde{}b\textasciicircum{}c\#\$"


def test_data_that_say_nothing_are_named_by_their_file_alone() -> None:
    text = sentences(fields())
    assert text.startswith("The data are “temperature.nc”: 2t [K] in steps of 1h")
    assert "private" not in text and "icence" not in text and "ttribution" not in text


def kinds() -> list[EmulatorConfig]:
    """One emulator of each kind, and the graph network with each sort of messages."""
    needed = {"plugin": {"name": "mine"}}
    found = [cls(**needed.get(kind, {})) for kind, cls in EMULATORS.items()]
    messages = [ProcessorConfig(kind="interaction"), GraphCastConfig(), AnemoiGraphConvolutionConfig(),
                AnemoiGraphTransformerConfig(), PyGConfig(layer="GATv2Conv")]  # fmt: skip
    return [*found, *(GNNConfig(processor=processor) for processor in messages)]


@pytest.mark.parametrize("config", kinds(), ids=lambda config: config.kind)
def test_every_emulator_is_told_in_words_whose_sources_are_known(config: EmulatorConfig) -> None:
    text = config.in_words()
    assert set(keys_in(text)) <= set(known_entries())
    assert text.count("@") == len(re.findall(r"@[\w-]+", "".join(re.findall(r"\[@[^\]]+\]", text))))


def test_first_guesses_equations_and_initial_states_cite_what_is_known() -> None:
    texts = [guess_in_words(cls()) for cls in members_of(get_args(FirstGuess)[0])]
    texts += [equation_in_words(cls()) for cls in members_of(get_args(EquationConfig)[0])]
    states = members_of(get_args(SphereStates)[0])
    texts += [SphereSimulationConfig(initial_states=cls()).in_words() for cls in states]
    planet = ShallowWaterConfig(heating=HeatingCycle(), climate=Climate(), mountains=(Mountain(),))
    texts.append(SphereSimulationConfig(equation=planet).in_words())
    assert "over mountains at T42" in texts[-1] and "ohana2024" in keys_in(texts[-1])
    assert all(set(keys_in(text)) <= set(known_entries()) for text in texts)
    assert len(set(texts)) == len(texts) > 10


def test_every_entry_is_cited_somewhere_and_once_in_the_file() -> None:
    entries, text = known_entries(), (PROJECT / "emulator" / "references.bib").read_text()
    assert keys_of(text) == list(entries)
    source = "".join(
        path.read_text() for package in ("emulator", "training") for path in sorted((PROJECT / package).rglob("*.py"))
    )
    assert [key for key in entries if f"@{key}" not in source and key != "hersbach2020"] == []


def test_the_entry_of_meshcast_is_its_citation_file() -> None:
    citation, entry = yaml.safe_load((PROJECT / "CITATION.cff").read_text()), known_entries()["meshcast"]
    plain = entry.replace("{", "").replace("}", "")
    assert citation["title"] in plain and citation["authors"][0]["name"] in plain and citation["license"] in plain


def test_each_choice_of_a_training_is_told() -> None:
    training = replace(
        TRAINING, loss="pseudo_huber", noise=0.02, noise_kind="random_amplitude", mirror=("v",), shift=True,
        pushforward=1, curriculum=((0.75, 1), (0.25, 4)), devices=2,
    )  # fmt: skip
    text = " ".join(training_sentences(training))
    assert "4 samples on each of 2 processes" in text
    assert "pseudo-Huber loss [@charbonnier1997] over 1 step of the rollout in 75% of the updates and 4 steps" in text
    assert "0.02 standard deviations" in text and "weaker by a random factor" in text
    assert (
        "after 1 steps without gradient [@brandstetter2022]" in text
        and "Every other sample is mirrored, v with the" in text
    )
    assert "and every sample is turned by a random number of nodes." in text
    text = " ".join(training_sentences(replace(training, shift=False, rotation=True)))
    assert "and every sample is turned about the axis by a random angle." in text
    text = " ".join(training_sentences(replace(training, minutes=10.0), seeds=(0, 1, 2), subject="They were"))
    assert "They were trained" in text and "10 minutes of one core" in text and "seeds are 0, 1 and 2" in text


def test_a_disk_that_does_not_take_them_ends_the_run_and_a_paragraph_that_fails_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = atomic_file.put

    def full(temporary: Path, final: Path) -> None:
        if final.name == "references.bib":
            raise OSError(errno.ENOSPC, "No space left on device", str(final))
        put(temporary, final)

    def unable(*_: object) -> str:
        raise KeyError("a source without an entry")

    config = experiment(tmp_path, emulator=RidgeConfig(radii=(1,)))
    with monkeypatch.context() as patch:
        patch.setattr(atomic_file, "put", full)
        with pytest.raises(MeshcastError, match=r"references\.bib"):
            fit(config, tmp_path / "run")
    assert not (tmp_path / "run" / "done.json").exists()
    fit(config, tmp_path / "run", resume="auto")
    assert (tmp_path / "run" / "methods.md").exists() and (tmp_path / "run" / "references.bib").exists()
    monkeypatch.setattr(methods, "methods_of", unable)
    fit(config, tmp_path / "other")
    assert "methods.md of" in caplog.text and (tmp_path / "other" / "done.json").exists()


def test_what_is_transformed_or_normalised_otherwise_is_said() -> None:
    rain = Variable("tp", "diagnostic", "m", transform=Quantile())
    cloud = Variable("tcc", "prognostic", normaliser="min_max")
    sentences = " ".join(task_sentences(Task((cloud, rain), TimeStep.parse("6h"))))
    assert "What is learned of tp is the normal deviate of its rank in the training part." in sentences
    assert "Normalised other than by mean and standard deviation: tcc by min-max." in sentences
