"""The script of docs/operations.md, as a machine would run it every night."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.meshcast.command_line import PROGRAM, ROOT
from tests.meshcast.conftest import hot_weather

PAGE = ROOT / "docs/operations.md"
SCRIPT = PAGE.read_text(encoding="utf-8").split("```bash\n")[1].split("```")[0]


def test_the_script_is_one_that_a_shell_reads() -> None:
    assert subprocess.run(["bash", "-n"], input=SCRIPT, text=True).returncode == 0


@pytest.mark.slow  # four commands, each a process
def test_a_night_writes_a_forecast_a_log_and_a_link_and_removes_what_is_old(weather_world: Path) -> None:
    Path("incoming").mkdir()
    shutil.copy("weather.nc", "incoming/latest.nc")
    Path("bin").mkdir()
    Path("bin/meshcast").write_text(f'#!{sys.executable}\nimport sys\nsys.path.insert(0, "{ROOT}")\n{PROGRAM}\n')
    Path("bin/meshcast").chmod(0o755)
    Path("forecasts").mkdir()
    old = Path("forecasts/20190101.nc")
    old.write_text("")
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    path = f"{Path('bin').resolve()}:{os.environ['PATH']}"
    script = {"FORECAST_HOME": str(weather_world), "LEAD": "3h", "THREADS": "1", "OPTIONS": "--forcing co2.csv"}
    environment = {**os.environ, **script, "PATH": path}

    def night() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", SCRIPT], env=environment, text=True, capture_output=True)

    first = night()
    assert first.returncode == 0 and first.stdout == first.stderr == ""
    (log,) = Path("logs").iterdir()
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()][-1] == "end"
    latest = Path("forecasts/latest.nc")
    with xr.open_dataset(latest) as forecast:
        assert np.isfinite(forecast["2t"]).all() and not old.exists()
    assert night().returncode == 0, "a second start of one night has nothing to do"

    latest.resolve().unlink()
    latest.unlink()
    hot_weather().to_netcdf("incoming/latest.nc")
    stopped = night()
    assert stopped.returncode == 3 and "ended with code 3" in stopped.stdout and not latest.exists()

    subprocess.run("exec 9> .nightly.lock; flock 9; cp weather.nc incoming/latest.nc; exit 0", shell=True, check=True)
    held = subprocess.Popen(["bash", "-c", "exec 9> .nightly.lock; flock 9; echo held; read"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    assert night().returncode == 75
    held.communicate("\n")
