"""The baselines beside every forecast: their settings, and that they start where the forecast started."""

import numpy as np
import pytest

from emulator.foundation.time_step import TimeStep
from emulator.training_part import TrainingPart
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from tests.emulator.worlds import FRAME, WAVES, wave_fields, weather_mesh
from training.runs.verify import fit_references, period_of, reference_configs, same_starts


@pytest.mark.parametrize(
    ("time_step", "period"),
    [("1h", "hour"), ("6h", "hour"), ("1 day", "month"), ("1 month", "month"), ("1 year", "none")],
)
def test_a_climatology_depends_on_what_a_step_does_not_average_over(time_step: str, period: str) -> None:
    assert period_of(TimeStep.parse(time_step)) == period
    assert period_of(FRAME) == "none"


def test_ridge_reaches_as_far_as_the_mesh_allows() -> None:
    assert reference_configs(ring(24), FRAME, 10)["ridge"].radii == (1, 2, 4, 8)
    assert reference_configs(weather_mesh(), TimeStep.parse("1h"), 10)["ridge"].radii == (0, 1)
    assert reference_configs(icosphere(1), TimeStep.parse("1h"), 10)["ridge"].radii == (0,)


def test_an_anomaly_that_never_changes_is_not_persisted_twice() -> None:
    assert "anomaly persistence" not in reference_configs(ring(24), FRAME, 10)
    assert "anomaly persistence" in reference_configs(ring(24), TimeStep.parse("6h"), 10)


def test_references_start_from_the_truth_at_the_same_times_and_trajectories() -> None:
    fields = wave_fields()
    references, left_out = fit_references(WAVES, TrainingPart(fields), steps=3, labels=["persistence", "ridge"])
    assert [reference.name for reference in references] == ["persistence", "ridge"] and not left_out
    times, trajectories = np.array([2, 5]), np.array([3, 1])
    persistence, ridge = same_starts(references, wave_fields(seed=1), times, trajectories, steps=3)
    truth = wave_fields(seed=1).values  # [time, trajectory, node, variable]
    for case, (time, trajectory) in enumerate(zip(times, trajectories, strict=True)):
        for lead in range(3):
            np.testing.assert_array_equal(persistence.values[case, 0, lead], truth[time, trajectory])
            later = truth[time + lead + 1, trajectory]  # waves that move one node a step are linear
            np.testing.assert_allclose(ridge.values[case, 0, lead], later, atol=1e-3)
    assert persistence.init_time.tolist() == [2, 5] and persistence.trajectory.tolist() == [3, 1]
