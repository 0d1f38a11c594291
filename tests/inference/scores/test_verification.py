"""Verification: the right truth for every forecast, and scores with a known answer."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from emulator.data.arrays import ArrayFields
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from inference.scores import verification
from inference.scores.metrics import case_scores
from inference.scores.scorecard import common_cases
from inference.scores.verification import verify
from tests.inference.synthetic import isles_forecast, isles_truth, ring_forecast, ring_truth


def test_a_perfect_forecast_has_no_error_and_is_stable_to_the_end() -> None:
    truth = ring_truth()
    found = verify([ring_forecast(truth, lag=0.0)], truth, climatology=np.zeros(1))
    gnn = found["GNN"]
    assert np.allclose(gnn.mean("rmse"), 0, atol=1e-6) and np.allclose(gnn.mean("acc"), 1)
    assert np.allclose(gnn.mean("amplitude_ratio"), 1, atol=1e-6)
    assert (gnn.stable_steps == 40).all() and gnn.censored.all()
    assert not found.left_out


def test_scores_of_a_lagging_sine_follow_the_chord_of_the_angle() -> None:
    """A unit wave k that lags by d nodes errs by 2 sin(π k d / N) times its own norm."""
    truth = ring_truth(trajectories=1)
    x = 2 * np.pi * np.arange(64) / 64
    sine = np.stack([np.sin(2 * (x - 2 * np.pi * step / 64)) for step in range(41)])[:, None, :, None]
    truth = replace(truth, values=sine.astype(np.float32))
    found = verify([ring_forecast(truth, lag=0.5, growth=0.0)], truth)
    steps = np.arange(1, 41)
    chord = 2 * np.abs(np.sin(np.pi * 2 * 0.5 * steps / 64))
    np.testing.assert_allclose(found["GNN"].mean("nrmse")[:, 0], chord, atol=1e-5)
    np.testing.assert_allclose(found["GNN"].mean("rmse")[:, 0], chord / np.sqrt(2), atol=1e-5)
    np.testing.assert_allclose(found["GNN"].score()[0], np.exp(np.log(chord).mean()), rtol=1e-5)
    assert found.scale[0] == pytest.approx(1 / np.sqrt(2), rel=1e-5)
    stable = steps[(chord > 0.5).argmax()] - 1
    assert found["GNN"].stable_steps[0, 0] == stable and not found["GNN"].censored.any()


def test_growth_shows_as_amplitude_and_as_drift_of_the_mean_square() -> None:
    truth = ring_truth()
    found = verify([ring_forecast(truth, lag=0.0, growth=0.01)], truth)["GNN"]
    grown = 1.01 ** np.arange(1, 41)
    np.testing.assert_allclose(found.mean("amplitude_ratio")[:, 0], grown, rtol=1e-5)
    np.testing.assert_allclose(found.mean("mean_square_drift")[:, 0], grown**2 - 1, atol=1e-5)
    np.testing.assert_allclose(found.mean("truth_mean_square_drift")[:, 0], 0, atol=1e-5)
    np.testing.assert_allclose(
        found.power[:, 1:4, 0] / found.truth_power[:, 1:4, 0], grown[:, None].repeat(3, 1) ** 2, rtol=1e-4
    )


def test_rmse_is_the_root_of_the_mean_over_cases_not_the_mean_of_roots() -> None:
    truth = isles_truth(days=1)
    forecast = isles_forecast(truth, error=0.0, leads=2, every=6)
    errors = np.arange(len(forecast.init_time), dtype=np.float32)
    forecast = replace(forecast, values=forecast.values + errors[:, None, None, None, None])
    found = verify([forecast], truth)["GNN"]
    assert found.mean("rmse")[0, 0] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
    assert found.mean("bias")[0, 0] == pytest.approx(errors.mean(), rel=1e-5)


def test_leads_without_truth_are_left_out_and_named() -> None:
    truth = isles_truth(days=1)
    long = isles_forecast(isles_truth(days=3), leads=12, every=6)
    found = verify([long], truth)
    gnn = found["GNN"]
    there = gnn.init_time[:, None] + gnn.lead_steps * 3600 <= truth.times[-1]
    assert (gnn.verified[..., 0] == there).all() and 0 < there.sum() < there.size
    text = " ".join(found.left_out)
    assert "no truth at steps 7 to 12 of 2019-03-25T18:00:00 (all forecasts)" in text
    assert "all leads of 2019-03-26T00:00:00" in text
    half = verify([isles_forecast(isles_truth(days=3), leads=12, every=6)], isles_truth(days=3))["GNN"]
    assert gnn.values["rmse"][0] == pytest.approx(half.values["rmse"][0])


def test_a_truth_one_step_late_would_show() -> None:
    """The planted fault: a lead counted from zero instead of one."""
    truth = ring_truth()
    late = replace(truth, times=truth.times + 1)
    assert verify([ring_forecast(truth, lag=0.0)], truth)["GNN"].mean("rmse").max() < 1e-6
    assert verify([ring_forecast(truth, lag=0.0)], late)["GNN"].mean("rmse")[:-1].min() > 0.05


def test_each_case_meets_its_own_trajectory() -> None:
    truth = ring_truth()
    forecast = ring_forecast(truth, lag=0.0)
    order = np.array([3, 1, 0, 5])
    shuffled = replace(
        forecast,
        values=forecast.values[order],
        init_time=forecast.init_time[order],
        trajectory=forecast.trajectory[order],
    )
    assert verify([shuffled], truth)["GNN"].mean("rmse").max() < 1e-6


def test_missing_dates_and_masked_nodes_are_no_truth() -> None:
    truth = isles_truth(days=1)
    values = truth.values.copy()
    values[:, :, :100] = np.nan
    truth = replace(truth, values=values, missing=frozenset({5}))
    forecast = isles_forecast(isles_truth(days=1), error=0.0, leads=6, every=6)
    wrong = forecast.values.copy()
    wrong[..., :100, :] += 50
    found = verify([replace(forecast, values=wrong)], truth)
    assert np.nanmax(found["GNN"].mean("rmse")) < 1e-4
    assert not found["GNN"].verified[0, 4, 0] and found["GNN"].verified[0, 3, 0]
    assert "step 5 of 2019-03-25T00:00:00" in found.left_out[0]


def test_a_stopped_forecast_has_no_mean_from_there_and_is_counted() -> None:
    truth = ring_truth()
    forecast = ring_forecast(truth, lag=0.01)
    forecast.values[2, :, 20:] = np.nan
    found = verify([forecast], truth)["GNN"]
    assert np.isfinite(found.mean("rmse")[:20]).all() and np.isnan(found.mean("rmse")[20:]).all()
    assert found.failed[19, 0] == 0 and found.failed[20, 0] == 1
    assert found.stable_steps[2, 0] == 20 and not found.censored[2, 0]


def test_one_perfect_lead_time_does_not_outweigh_all_others() -> None:
    """A wave of 16 nodes that moves one a step has come round after 16 steps, where persistence is exact."""
    truth = ring_truth(num_nodes=16, times=21)
    found = verify([ring_forecast(truth, "persistence", lag=1.0, leads=20)], truth, num_resamples=50)
    nrmse = found["persistence"].mean("nrmse")[:, 0]
    assert nrmse[15] < 1e-6
    np.testing.assert_allclose(found["persistence"].score()[0], np.exp(np.log(np.maximum(nrmse, 2.0**-23)).mean()))
    assert 0.2 < found["persistence"].score()[0] < 1.5
    assert found["persistence"].scored_leads(10).sum() == 10


def test_ensembles_are_scored_by_their_mean_with_spread_and_crps() -> None:
    truth = ring_truth()
    forecast = ring_forecast(truth, members=3)
    found = verify([forecast], truth)["GNN"]
    mean = verify([replace(forecast, values=forecast.values.mean(1, keepdims=True))], truth)["GNN"]
    np.testing.assert_allclose(found.mean("rmse"), mean.mean("rmse"), rtol=1e-5)
    assert (found.mean("spread") > 0).all() and (found.mean("fair_crps") < found.mean("crps")).all()
    assert found.member_mse.shape == (6, 3, 40, 1) and "crps" not in mean.metrics


def test_chunks_do_not_change_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, forecast = ring_truth(), ring_forecast(ring_truth(), members=2)
    whole = verify([forecast], truth, climatology=np.zeros(1))["GNN"]
    monkeypatch.setattr("inference.scores.verification.CHUNK_VALUES", 64 * 2 * 7)
    monkeypatch.setattr("inference.scores.verification.SPECTRA_VALUES", 64 * 2 * 3)
    parts = verify([forecast], truth, climatology=np.zeros(1))["GNN"]
    for name, values in whole.values.items():
        np.testing.assert_array_equal(values, parts.values[name])
    np.testing.assert_allclose(whole.power, parts.power)


def test_the_order_of_fields_in_memory_changes_no_score() -> None:
    random, mesh = torch.Generator().manual_seed(0), latlon(np.linspace(-75, 75, 6), np.arange(0, 360, 30))
    shapes = (2, 1, 3, mesh.num_nodes, 2), (2, 3, mesh.num_nodes, 2), (2, mesh.num_nodes, 2)
    fields = [280.0 + torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    areas, known = torch.from_numpy(mesh.areas), torch.ones(mesh.num_nodes, 2, dtype=torch.bool)
    usual, by_variable = (
        case_scores(values, truth, areas, climatology=truth + 1.0, initial=initial, known=known, wind=(0, 1))
        for values, truth, initial in (fields, [x.mT.contiguous().mT for x in fields])
    )
    for name, score in usual.items():
        torch.testing.assert_close(by_variable[name], score, rtol=1e-9, atol=1e-12, msg=name)


def test_case_scores_take_tensors_as_verify_takes_forecasts() -> None:
    truth, forecast = ring_truth(), ring_forecast(ring_truth())
    frames = torch.from_numpy(truth.values[1:].transpose(1, 0, 2, 3).copy())
    direct = case_scores(torch.from_numpy(forecast.values), frames, torch.from_numpy(truth.mesh.areas))
    found = verify([forecast], truth)["GNN"]
    for name, score in direct.items():
        np.testing.assert_array_equal(score.numpy(), found.values[name])


def test_skill_and_paired_differences_use_the_cases_both_have() -> None:
    truth = ring_truth()
    good, bad = ring_forecast(truth, "GNN", lag=0.01), ring_forecast(truth, "slow", lag=0.02)
    some = replace(
        bad,
        values=bad.values[1:, :, :30],
        init_time=bad.init_time[1:],
        trajectory=bad.trajectory[1:],
        lead_steps=bad.lead_steps[:30],
    )
    found = verify([good, some], truth, baselines=["slow"])
    skill = found.skill("GNN", "slow")
    assert skill.lead_steps[-1] == 30 and np.allclose(skill.estimate[:5], 0.5, atol=1e-3)
    assert (skill.lower > 0.45).all()
    difference = found.difference("GNN", "slow")
    assert (difference.estimate < 0).all() and difference.significant.all()
    one, two = common_cases(found["GNN"], found["slow"])
    assert (one.trajectory == two.trajectory).all() and one.num_cases == 5


def test_emulators_of_one_name_are_told_apart_by_seed() -> None:
    truth = isles_truth(days=1)
    found = verify([isles_forecast(truth, seed=1), isles_forecast(truth, seed=2)], truth)
    assert [e.label for e in found.emulators] == ["GNN (seed 1)", "GNN (seed 2)"]


def test_what_cannot_be_verified_is_refused_with_a_reason() -> None:
    truth = ring_truth()
    forecast = ring_forecast(truth)
    with pytest.raises(MeshcastError, match="nothing to verify"):
        verify([forecast], replace(truth, times=truth.times + 1000))
    with pytest.raises(MeshcastError, match=r"begins from states of no trajectory, .* trajectories 0 to 5.* --traj"):
        verify([replace(forecast, trajectory=np.full_like(forecast.trajectory, -1))], truth)
    with pytest.raises(MeshcastError, match=r"begins from trajectory 6, 7, 8, 9, 10, \.\.\., but"):
        verify([replace(forecast, trajectory=forecast.trajectory + 6)], truth)
    with pytest.raises(MeshcastError, match="same nodes"):
        other = ring(32)
        verify([replace(forecast, mesh=other, values=forecast.values[:, :, :, :32])], truth)
    with pytest.raises(MeshcastError, match="baseline persistance"):
        verify([forecast], truth, baselines=["persistance"])
    with pytest.raises(MeshcastError, match="truth is in 1, GNN in K"):
        verify([replace(forecast, units=("K",))], truth)


def test_a_climatology_emulator_gives_the_anomalies() -> None:
    from emulator.baselines.climatology import ClimatologyConfig
    from emulator.task import Task, Variable
    from emulator.training_part import TrainingPart

    truth = isles_truth(days=2)
    task = Task((Variable("2t", "prognostic", "K"),), truth.time_step)
    part = TrainingPart(truth, np.arange(len(truth.times)))
    emulator = ClimatologyConfig(period="hour").fit(task, part)
    forecast = isles_forecast(truth, leads=6)
    by_emulator = verify([forecast], truth, climatology=emulator)["GNN"].mean("acc")
    hours = truth.times // 3600 % 24
    mean = np.stack([truth.values[hours == hour, 0].mean(0) for hour in range(24)])
    by_function = verify([forecast], truth, climatology=lambda time: mean[time // 3600 % 24])["GNN"].mean("acc")
    np.testing.assert_allclose(by_emulator, by_function, atol=1e-4)


def test_means_over_cases_agree_with_the_scores_library() -> None:
    """RMSE, MAE and CRPS of random ensembles on a grid of unequal areas, from forecast to mean over cases."""
    import xarray as xr
    from scores.continuous import mae, rmse
    from scores.probability import crps_for_ensemble

    truth, random = isles_truth(days=1, rows=9, columns=7), np.random.default_rng(0)
    one = isles_forecast(truth, leads=3, every=4)
    members = one.values + random.normal(size=(len(one.init_time), 5, *one.values.shape[2:])).astype(np.float32)
    found = verify([replace(one, values=members)], truth)["GNN"]
    hours = (one.init_time[:, None] - truth.times[0]) // 3600 + one.lead_steps
    x = xr.DataArray(members[..., 0].astype(float), dims=("case", "member", "lead", "node"))
    y = xr.DataArray(truth.values[hours, 0, :, 0].astype(float), dims=("case", "lead", "node"))
    weights = xr.DataArray(truth.mesh.weights, dims="node")
    assert truth.mesh.weights.std() > 0.05 * truth.mesh.weights.mean(), "areas differ"
    options = {"preserve_dims": ["lead"], "weights": weights}
    np.testing.assert_allclose(found.mean("rmse")[:, 0], rmse(x.mean("member"), y, **options), atol=1e-6)
    np.testing.assert_allclose(found.mean("mae")[:, 0], mae(x.mean("member"), y, **options), atol=1e-6)
    np.testing.assert_allclose(found.mean("crps")[:, 0], crps_for_ensemble(x, y, "member", **options), atol=1e-6)


def test_blocks_and_neighbours_in_a_verification_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is read once for all, with gaps, in blocks of any size."""
    truth = isles_truth(days=1)
    truth.values[5, 0, :7] = np.nan
    forecasts = [isles_forecast(truth, "one", leads=6), isles_forecast(truth, "other", seed=1, leads=4, every=5)]
    together = verify(forecasts, truth, climatology=np.zeros(1))
    monkeypatch.setattr(verification, "BLOCK_VALUES", 1)
    for forecast, found in zip(forecasts, together.emulators, strict=True):
        alone = verify([forecast], truth, climatology=np.zeros(1))[forecast.name]
        for metric, values in found.values.items():
            np.testing.assert_allclose(values, alone.values[metric], rtol=1e-10, atol=1e-9, err_msg=metric)
        np.testing.assert_array_equal(found.verified, alone.verified)


def test_the_truth_is_read_once_for_forecasts_of_the_same_starts() -> None:
    truth, reads = isles_truth(days=1), []
    forecast = isles_forecast(truth, leads=6)

    class Counted(ArrayFields):
        def _read(self, times, rows, columns):  # type: ignore[no-untyped-def]
            reads.append(len(times))
            return super()._read(times, rows, columns)

    counted = Counted(**{item.name: getattr(truth, item.name) for item in fields(ArrayFields)})
    verify([replace(forecast, name=name) for name in "abc"], counted)
    first = len(reads)
    verify([forecast], counted)
    assert first <= 2 * (len(reads) - first), "initial times come on top"
