"""Verification of forecasts beside the closed forms, fitted where the emulator was trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.data.forecast import Forecast
from graphs.errors import MeshcastError
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
