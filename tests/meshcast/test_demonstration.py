"""The demonstration's result, for people or for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inference.verification import verify
from meshcast import demonstration
from meshcast.main import app
from tests.inference.synthetic import ring_forecast, ring_truth


@pytest.mark.parametrize(("lag", "code"), [(0.05, 0), (0.9, 1)])
def test_json_stands_alone_and_the_exit_code_says_whether_persistence_is_beaten(
    lag: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = ring_truth()
    forecasts = [ring_forecast(truth, "network", lag, leads=5), ring_forecast(truth, "persistence", 0.5, leads=5)]
    result = demonstration.DemonstrationResult(Path("runs/demo-ring"), verify(forecasts, truth))
    monkeypatch.setattr(demonstration, "run_demonstration", lambda *arguments: result)
    said = CliRunner().invoke(app, ["demo", "--json"])
    assert said.exit_code == code
    assert json.loads(said.stdout)["beats_persistence"] is (code == 0)
    assert "nRMSE of u, 6 cases" in CliRunner().invoke(app, ["demo"]).stdout
