"""Energy: counters read by hand, parts of a resumed run summed, and a fault of counting that ends no run."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from emulator.baselines.persistence import PersistenceConfig
from graphs.errors import MeshcastError
from tests.training.worlds import experiment
from training.accounting import AccountingConfig
from training.early_end import DivergedError
from training.experiment import ExperimentConfig
from training.json_file import read_json
from training.runs.energy import EARLIER, Meter, metered, read_energy
from training.runs.energy_counters import (
    PackageCounter,
    busy_seconds,
    package_counters,
    process_seconds,
    processor_name,
)
from training.runs.fit import fit
from training.runs.run_hash import run_hash


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    """A run that is fitted at once."""
    config = experiment(tmp_path, emulator=PersistenceConfig())
    (tmp_path / "run").mkdir()
    return config


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Counters as Linux shows them: one package of two parts and memory, a second path to it, and the whole machine."""
    zones = {
        "intel-rapl:0": ("package-0", 1_000_000),
        "intel-rapl:0:0": ("core", 700_000),
        "intel-rapl:0:1": ("dram", 500_000),
        "intel-rapl:1": ("psys", 3_000_000),
        "intel-rapl-mmio:0": ("package-0", 1_000_000),
    }
    for zone, (name, spent) in zones.items():
        folder = tmp_path / "powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{spent}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
    return tmp_path / "powercap"


def run_in(config: ExperimentConfig) -> Path:
    return Path(config.output) / config.name


def test_packages_and_memory_are_counted_once(powercap: Path) -> None:
    counters = package_counters(powercap)
    assert [counter.path.parent.name for counter in counters] == ["intel-rapl:0", "intel-rapl:0:1"]
    assert [counter.joules() for counter in counters] == [1.0, 0.5]


def test_a_counter_that_started_again_from_zero_is_unwrapped() -> None:
    counter = PackageCounter(Path("energy_uj"), wraps_at=10.0)
    assert counter.since(2.0, 9.0) == 7.0
    assert counter.since(9.0, 2.0) == 3.0


def test_a_package_that_may_not_be_read_leaves_nothing_to_measure_by(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").unlink()
    assert package_counters(powercap) == []
    assert package_counters(powercap / "absent") == []


def test_busy_seconds_of_all_cores_leave_out_idle_ones(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 9999 888 4 6 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
    assert busy_seconds(stat) == pytest.approx(160 / os.sysconf("SC_CLK_TCK"))
    assert busy_seconds(tmp_path / "absent") is None


def test_the_processor_is_named_by_itself(tmp_path: Path) -> None:
    information = tmp_path / "cpuinfo"
    information.write_text("processor\t: 0\nmodel name\t: An Example 9000\nflags\t: fpu\n")
    assert processor_name(information) == "An Example 9000"
    assert processor_name(tmp_path / "absent")


def test_processor_seconds_are_those_of_the_work() -> None:
    before, clock = process_seconds(), time.process_time()
    while time.process_time() - clock < 0.05:
        pass
    assert process_seconds() - before >= 0.05


def test_measured_energy_is_the_packages_times_the_share_of_busy_time(config: ExperimentConfig, powercap: Path) -> None:
    meter = Meter(config, run_in(config), powercap)
    meter.start()
    (powercap / "intel-rapl:0" / "energy_uj").write_text("9000000")  # 8 J
    (powercap / "intel-rapl:0:1" / "energy_uj").write_text("300000")  # from 0.5 J over 10 J to 0.3 J: 9.8 J
    (powercap / "intel-rapl:1" / "energy_uj").write_text("9999999")
    meter.stop()
    (part,) = read_json(run_in(config) / "energy.json", "")["parts"]
    assert part["method"] == "measured" and part["watts_per_core"] is None
    assert 0 < part["share"] <= 1
    assert part["processor_kwh"] == pytest.approx(part["share"] * 17.8 / 3.6e6)


def test_where_nothing_counts_energy_is_estimated_and_said_to_be(config: ExperimentConfig, tmp_path: Path) -> None:
    config = replace(config, accounting=AccountingConfig(carbon_intensity=400, price=0.25, watts_per_core=7.2))
    meter = Meter(config, run_in(config), tmp_path / "no counters")
    meter.start()
    meter.stop()
    energy = read_energy(run_in(config))
    assert energy is not None and energy["method"] == "estimated"
    assert energy["kwh"] == pytest.approx(energy["processor_seconds"] * 7.2 / 3.6e6)
    assert energy["grams_co2"] == pytest.approx(400 * energy["kwh"])
    assert energy["cost"] == pytest.approx(0.25 * energy["kwh"])


def test_no_cost_is_said_without_rates(config: ExperimentConfig) -> None:
    fit(config)
    energy = read_energy(run_in(config))
    assert energy is not None and not {"grams_co2", "cost"} & set(energy)


def test_a_run_sums_its_parts_the_interrupted_ones_too(config: ExperimentConfig) -> None:
    with pytest.raises(KeyboardInterrupt), metered(config, run_in(config)):
        raise KeyboardInterrupt
    with metered(config, run_in(config)):
        pass
    energy = read_energy(run_in(config))
    assert energy is not None and len(energy["parts"]) == 2 and energy["left_out"] == []
    for name in ("seconds", "processor_seconds"):
        assert energy[name] == pytest.approx(sum(part[name] for part in energy["parts"]))
    assert energy["kwh"] == pytest.approx(sum(part["processor_kwh"] for part in energy["parts"]))


def test_a_run_that_is_refused_leaves_nothing_and_one_that_diverges_its_energy(config: ExperimentConfig) -> None:
    with pytest.raises(MeshcastError), metered(config, run_in(config)):
        raise MeshcastError("Refused.")
    assert not (run_in(config) / "energy.json").exists()
    with pytest.raises(DivergedError), metered(config, run_in(config)):
        raise DivergedError("The loss is not finite.")
    assert read_energy(run_in(config)) is not None


@pytest.mark.parametrize("content", [None, "{not json", '{"parts": [], "digest": "0"}'])
def test_parts_that_are_not_known_are_said_to_be_left_out(config: ExperimentConfig, content: str | None) -> None:
    folder = run_in(config)
    (folder / "last.ckpt").write_bytes(b"of an earlier part")
    if content is not None:
        (folder / "energy.json").write_text(content)
    with metered(config, folder):
        pass
    energy = read_energy(folder)
    assert energy is not None and len(energy["parts"]) == 1 and energy["left_out"] == [EARLIER]


def test_a_fault_of_counting_or_telling_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = experiment(tmp_path)
    for name in ("energy.json", "methods.md"):
        (run_in(config) / name).mkdir(parents=True)
    fit(config, progress=False)
    assert (run_in(config) / "done.json").is_file()
    assert "energy of this run cannot be counted" in caplog.text and "methods.md" in caplog.text


def test_what_energy_costs_makes_no_other_run(config: ExperimentConfig) -> None:
    dearer = replace(config, accounting=AccountingConfig(price=0.5, currency="EUR", watts_per_core=3))
    assert run_hash(dearer, {"train": "1"}) == run_hash(config, {"train": "1"})
    fit(config)
    assert fit(dearer, resume="auto").name == config.name


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"carbon_intensity": -1.0}, "carbon_intensity must be a number from 0, but is -1"),
        ({"price": float("nan")}, "price must be a number from 0, but is nan"),
        ({"watts_per_core": 0.0}, "watts_per_core must be positive, but is 0"),
        ({"currency": "EUR"}, "no price is given"),
    ],
)
def test_rates_that_cannot_be_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(MeshcastError, match=said):
        AccountingConfig(**wrong)  # type: ignore[arg-type]
