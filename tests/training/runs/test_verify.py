"""Verification of forecasts beside the closed forms, fitted where the emulator was trained."""

import json
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from emulator.data.datasets.create import create_dataset
from emulator.data.forecast import Forecast
from emulator.data.sources import open_fields
from emulator.foundation.time_step import to_datetime
from graphs.errors import MeshcastError, UnreadableError
from inference.scores.verification import verify
from tests.emulator.worlds import moving_waves, wave_fields
from training.runs.verify import verify_files


@pytest.fixture
def truth(tmp_path: Path) -> str:
    np.save(tmp_path / "truth.npy", moving_waves(4, 12, seed=1))
    return str(tmp_path / "truth.npy")


def forecast() -> Forecast:
    """The truth itself, three steps from the start of two trajectories."""
    fields = wave_fields(seed=1)
    return Forecast(
        name="perfect",
        values=fields.values[1:4, :2].swapaxes(0, 1)[:, None].copy(),
        variables=("u",),
        units=("1",),
        mesh=fields.mesh,
        time_step=fields.time_step,
        init_time=np.zeros(2, dtype=np.int64),
        trajectory=np.arange(2),
        lead_steps=np.arange(1, 4),
    )


def test_a_forecast_of_unknown_training_is_measured_against_persistence_alone(truth: str) -> None:
    told: list[str] = []
    found = verify_files([forecast()], truth, notice=told.append)
    assert found.verification.baselines == ("persistence",) and told == found.notices
    assert "does not say what it was trained on; name it with --train" in told[0]
    assert found.verification["perfect"].mean("rmse").max() == 0.0
    np.testing.assert_allclose(found.verification.skill("perfect", "persistence").estimate, 1.0)
    x = wave_fields(seed=1).values[..., 0]
    error = np.sqrt(((x[1, :2] - x[0, :2]) ** 2).mean())
    assert found.verification["persistence"].mean("rmse")[0, 0] == pytest.approx(error, rel=1e-5)


def test_closed_forms_are_fitted_on_the_training_data_named(truth: str, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", moving_waves(4, 12, seed=0))
    found = verify_files([forecast()], truth, str(tmp_path / "train.npy"), notice=lambda text: None)
    assert found.verification.baselines == ("persistence", "climatology", "damped anomaly", "ridge")
    assert [made.name for made in found.forecasts] == ["perfect", *found.verification.baselines]
    assert "acc" in found.verification["perfect"].metrics, "the climatology gives the anomalies"
    assert found.verification["ridge"].mean("rmse").max() < 1e-3, "waves that only move are linear"


def test_what_cannot_be_verified_is_refused(truth: str, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=r"holds no v, but u\. Name one with --variable"):
        verify_files([forecast()], truth, variables=["v"])
    with pytest.raises(MeshcastError, match="nothing in common to verify"):
        verify_files([replace(forecast(), variables=("v",))], truth)
    np.save(tmp_path / "other.npy", moving_waves(4, 12, nodes=32))
    with pytest.raises(MeshcastError, match=r"the training data are on a ring of 32 nodes.* the truth on a ring of 24"):
        verify_files([forecast()], truth, str(tmp_path / "other.npy"))


def store(path: Path, rows: int, axis: str, start: int = 0) -> str:
    """Write waves of some trajectories as a dataset that says its rows are of `axis`."""
    fields = wave_fields(seed=1)
    values = fields.values[start:, :rows, :, 0]
    variables = {"u": (("time", "number", "cell"), values, {"units": "1"})}
    dataset = xr.Dataset(variables, {"time": to_datetime(fields.times[start:])})
    create_dataset(path, dataset, mesh=fields.mesh, time_step=fields.time_step, ensemble_axis=axis, attributes={})
    return str(path)


def test_a_truth_that_may_be_members_or_trajectories_is_refused(tmp_path: Path) -> None:
    members = store(tmp_path / "members.zarr", 2, "member")
    with pytest.raises(MeshcastError, match=r"members of one ensemble or independent.*--trajectories number.*0:1"):
        verify_files([forecast()], members, notice=lambda text: None)
    with pytest.raises(MeshcastError, match="holds 2 fields at each time, which may be"):
        verify([forecast()], open_fields(members))
    found = verify_files([forecast()], members, notice=lambda text: None, trajectories="number")
    assert found.verification["perfect"].mean("rmse").max() == 0.0
    with pytest.raises(MeshcastError, match=r"begins from 2 trajectories, but the truth .* is a single one"):
        verify_files([forecast()], members, notice=lambda text: None, trajectories=slice(0, 1))


def test_each_trajectory_is_scored_against_its_own_number(tmp_path: Path) -> None:
    fields = store(tmp_path / "truth.zarr", 4, "trajectory")
    swapped = replace(forecast(), trajectory=np.array([1, 0]), values=forecast().values[::-1].copy())
    found = verify_files([swapped], fields, notice=lambda text: None, trajectories=slice(0, 2))
    assert found.verification["perfect"].mean("rmse").max() == 0.0
    later = replace(forecast(), trajectory=np.array([1, 3]), values=forecast().values[[1, 1]].copy())
    found = verify_files([later], fields, notice=lambda text: None, trajectories=slice(1, 3))
    assert found.verification["perfect"].verified[:, 0, 0].tolist() == [True, False], "trajectory 3 is not among these"


@pytest.mark.parametrize("training", ['{"data": ', "[" * 20_000, "[1]", '"text"', '{"data": 3}'])
def test_damaged_metadata_of_training_leave_persistence_and_are_said(truth: str, training: str) -> None:
    said: list[str] = []
    found = verify_files([replace(forecast(), attributes={"training": training})], truth, notice=said.append)
    assert found.verification.baselines == ("persistence",)
    assert said[0].startswith("The only reference is persistence, since the training data cannot be read:")


def trained_on(source: Any, tables: Sequence[str] = ()) -> Forecast:
    """Return a forecast whose file says what it was trained on."""
    part = {"source": source}
    data = {"train": part, "validation": part, "forcing_tables": list(tables)}
    training = {"name": "x", "data": data, "task": {"prognostic": ["u"]}, "emulator": {"kind": "cnn"}}
    return replace(forecast(), attributes={"training": json.dumps(training)})


def test_no_path_or_address_that_a_forecast_file_holds_is_opened(truth: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.zarr"
        np.save(tmp_path / "other.npy", moving_waves(4, 12, seed=0))
        with_date = {"dataset": address, "start": "2000-01-01"}
        for source in (
            address,
            with_date,
            [truth, address],
            str(tmp_path / "other.npy"),
            {"dataset": truth, "cutout": address},
        ):
            said: list[str] = []
            found = verify_files([trained_on(source)], truth, notice=said.append)
            assert found.verification.baselines == ("persistence",) and "name it with --train" in said[0]
        with pytest.raises(TimeoutError):
            server.accept()


def test_training_data_that_are_part_of_the_truth_are_taken_at_the_files_word(
    truth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = verify_files([trained_on(Path(truth).name)], truth, notice=lambda text: None)
    assert "ridge" in found.verification.baselines


def test_any_closed_form_may_be_measured_against(truth: str, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", moving_waves(4, 12, seed=0))
    found = verify_files(
        [forecast()],
        truth,
        str(tmp_path / "train.npy"),
        notice=lambda text: None,
        against=["linear_inverse", "{kind: recent_mean, period: none, steps: 1}", "persistence"],
    )
    usual = ("persistence", "climatology", "damped anomaly", "ridge")
    assert found.verification.baselines == (*usual, "linear inverse", "recent mean")
    linear, still = (found.verification[name].mean("rmse") for name in ("linear inverse", "persistence"))
    assert np.all(linear < 0.5 * still), "waves that move are linear but for their mean in training"
    np.testing.assert_allclose(found.verification["recent mean"].mean("rmse"), still, rtol=1e-5)


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("linear_inverted", r"(?s)names no closed form.*did you mean linear_inverse"),
        ("{kind: linear_inverse, mods: 3}", r"mods"),
        ("{kind: linear_inverse", r"names no closed form"),
        ("gnn", r"is a network, which is trained, not fitted"),
        ("linear_inverse", r"needs the training data, which cannot be read: .*--train"),
    ],
)
def test_what_is_no_closed_form_is_refused(truth: str, against: str, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        verify_files([forecast()], truth, notice=lambda text: None, against=[against])


def test_a_reference_that_cannot_start_is_left_out_and_said(truth: str, tmp_path: Path) -> None:
    """Three steps of history are not there at the first time of the truth."""
    np.save(tmp_path / "train.npy", moving_waves(4, 12, seed=0))
    said: list[str] = []
    against = ["{kind: recent_mean, period: none, steps: 3}"]
    found = verify_files([forecast()], truth, str(tmp_path / "train.npy"), notice=said.append, against=against)
    assert "recent mean" not in found.verification.baselines and "ridge" in found.verification.baselines
    assert any(line.startswith("recent mean is left out") and "3 times of history" in line for line in said)


def test_no_reference_is_left_out_because_a_disk_failed(
    truth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "train.npy", moving_waves(4, 12, seed=0))

    def failing(*given: Any) -> None:
        raise UnreadableError("Cannot read train.npy: Input/output error.")

    monkeypatch.setattr("training.runs.verify.fit_closed_form", failing)
    with pytest.raises(UnreadableError, match="Input/output error"):
        verify_files([forecast()], truth, str(tmp_path / "train.npy"), notice=lambda text: None)
