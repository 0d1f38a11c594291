"""With --log-json, standard error is one JSON object a line, whatever happens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from meshcast.json_log import JsonLog
from tests.meshcast.command_line import meshcast
from tests.meshcast.conftest import hot_weather, weather_forecast


def forecast_from(initial: str) -> tuple[str, ...]:
    return (*weather_forecast("3h", initial), "--output", "new.nc")


def events(outcome: Any) -> list[dict[str, Any]]:
    """Return the lines of standard error; a line that is no JSON object fails the test."""
    lines = [json.loads(line) for line in outcome.err.splitlines()]
    assert all(isinstance(line, dict) and {"time", "event"} <= line.keys() for line in lines)
    assert lines[0]["event"] == "start" and lines[-1]["event"] == "end" and lines[-1]["code"] == outcome.code
    return lines


@pytest.mark.parametrize("before", [True, False])
def test_a_forecast_says_when_it_starts_how_far_it_is_and_what_it_wrote(weather_world: Path, before: bool) -> None:
    words = forecast_from("weather.nc")
    outcome = meshcast("--log-json", *words) if before else meshcast(*words, "--json", "--log-json")
    found = events(outcome)
    assert outcome.code == 0 and found[0]["command"] == "forecast" and found[0]["arguments"][1] == "runs/weather"
    assert [line["done"] for line in found if line["event"] == "progress"] == [0, 3]
    (wrote,) = [line for line in found if line["event"] == "wrote"]
    assert wrote["path"] == "new.nc" and (wrote["cases"], wrote["steps"]) == (1, 3)
    assert before or outcome.json["output"] == "new.nc", "standard output is the result's"


def test_what_goes_wrong_is_an_event_with_its_exit_code(weather_world: Path) -> None:
    hot_weather().to_netcdf("hot.nc")
    for words, code, message in (
        (forecast_from("gone.nc"), 2, "There is no file"),
        ((*forecast_from("weather.nc"), "--nonsense"), 2, "No such option"),
        (("nonsense",), 2, "No such command"),
        (forecast_from("hot.nc"), 3, "was not written"),
    ):
        outcome = meshcast(*words, "--log-json")
        (error,) = [line for line in events(outcome) if line["event"] == "error"]
        assert outcome.code == error["code"] == code and message in error["message"], outcome.err
    assert next(line["message"] for line in events(outcome) if line["event"] == "warning").startswith("Guard: ")


def test_what_libraries_write_and_faults_of_ours_are_lines_of_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(**options: Any) -> None:
        print("half a line", end="", file=sys.stderr)
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("meshcast.main.app", faulty)
    outcome = meshcast("forecast", "--log-json")
    found = events(outcome)
    (error,) = [line for line in found if line["event"] == "error"]
    assert outcome.code == error["code"] == 1 and "ZeroDivisionError" in error["traceback"]
    assert any("half a line" in line.get("message", "") for line in found)
    assert not isinstance(sys.stderr, JsonLog)
