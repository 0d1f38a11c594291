"""What is written as an anemoi dataset is what was computed, and Anemoi accepts it."""

from __future__ import annotations

import errno
import logging
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from emulator.data.datasets import create
from emulator.data.datasets.create import create_dataset
from emulator.data.datasets.timeline import Timeline
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from tests.locks import held_by_another

CELLS = 12


def series(
    time_step: TimeStep, count: int = 10, members: int = 2, start: str = "2000-01-01", drop: tuple[int, ...] = ()
) -> xr.Dataset:
    """Random fields of two variables, some dates left out."""
    first = np.full(count, np.datetime64(start, "s").astype(np.int64))
    keep = np.setdiff1d(np.arange(count), drop)
    generator = np.random.default_rng(0)
    shape = (len(keep), members, CELLS)
    dims = ("time", "number", "cell")
    return xr.Dataset(
        {
            "t_850": (dims, 280 + generator.normal(size=shape), {"units": "K"}),
            "sst": (dims, generator.normal(size=shape).astype(np.float32), {"units": "degC"}),
        },
        coords={"time": to_datetime(time_step.advance(first, np.arange(count))[keep])},
    )


def write(output: Path, fields: xr.Dataset, time_step: TimeStep, **options: Any) -> None:
    settings: dict[str, Any] = {"ensemble_axis": "member", "attributes": {}, **options}
    create_dataset(output, fields, mesh=ring(CELLS), time_step=time_step, **settings)


def opened(path: Path, **selection: Any) -> Any:
    from anemoi.datasets import open_dataset

    return open_dataset(str(path), **selection)


def inspect(path: Path) -> None:
    """`anemoi-datasets inspect`."""
    from anemoi.datasets.commands.inspect import InspectZarr

    options = Namespace(
        path=str(path), detailed=True, progress=False, statistics=False, no_statistics=False, size=False, details=True
    )
    InspectZarr().run(options)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_values_read_back_are_the_float32_of_what_was_given(tmp_path: Path) -> None:
    fields = series(TimeStep(3600), count=30)
    write(tmp_path / "a.zarr", fields, TimeStep(3600))
    dataset = opened(tmp_path / "a.zarr")
    assert dataset.shape == (30, 2, 2, CELLS)
    for name, column in dataset.name_to_index.items():
        assert np.array_equal(dataset[:][:, column], fields[name].values.astype(np.float32))
    assert np.array_equal(dataset.dates, fields["time"].values.astype("datetime64[s]"))
    assert left_over(tmp_path) == ["a.zarr"]


def test_nan_marks_masked_places(tmp_path: Path) -> None:
    fields = series(TimeStep(3600))
    fields["sst"][:, :, :5] = np.nan
    write(tmp_path / "a.zarr", fields, TimeStep(3600))
    dataset = opened(tmp_path / "a.zarr")
    values = dataset[:][:, dataset.name_to_index["sst"]]
    assert np.array_equal(values, fields["sst"].values, equal_nan=True)
    assert np.isfinite(dataset.statistics["mean"]).all()


@pytest.mark.parametrize("text", ["1h", "90s", "1 month", "3 month", "1 year"])
def test_true_dates_can_be_selected_and_inspected(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    time_step = TimeStep.parse(text)
    fields = series(time_step, count=40, start="1999-02-01")
    write(tmp_path / "a.zarr", fields, time_step)
    dates = fields["time"].values.astype("datetime64[s]")
    assert np.array_equal(opened(tmp_path / "a.zarr").dates, dates)
    part = opened(tmp_path / "a.zarr", start=str(dates[7]), end=str(dates[20]))
    assert np.array_equal(part.dates, dates[7:21])
    assert np.array_equal(part[0], opened(tmp_path / "a.zarr")[7])
    inspect(tmp_path / "a.zarr")
    printed = capsys.readouterr().out
    assert "t_850" in printed and str(dates[-1])[:10] in printed


@pytest.mark.parametrize(("text", "start"), [("1h", "2000-01-01"), ("1 month", "1999-02-01"), ("1 year", "1850-01-01")])
def test_absent_dates_become_missing_ones(tmp_path: Path, text: str, start: str) -> None:
    time_step = TimeStep.parse(text)
    fields = series(time_step, start=start, drop=(3, 7))
    write(tmp_path / "a.zarr", fields, time_step)
    dataset = opened(tmp_path / "a.zarr")
    assert dataset.missing == {3, 7} and len(dataset.dates) == 10
    column = dataset.name_to_index["t_850"]
    assert np.array_equal(dataset[4][column], fields["t_850"].values[3].astype(np.float32))
    assert np.array_equal(np.delete(dataset.dates, [3, 7]), fields["time"].values.astype("datetime64[s]"))


def test_a_store_tells_what_its_reader_needs(tmp_path: Path) -> None:
    time_step = TimeStep(1, true_length=0.25, true_units="")
    attributes = {"licence": "CC-BY-4.0", "attribution": "the authors", "title": "noise", "shape": "never Anemoi's own"}
    write(tmp_path / "a.zarr", series(time_step), time_step, ensemble_axis="trajectory", attributes=attributes)
    fields = open_fields(str(tmp_path / "a.zarr"))
    assert fields.ensemble_axis == "trajectory" and fields.time_step == time_step
    assert fields.units == ("degC", "K") and fields.variables == ("sst", "t_850")
    assert fields.mesh.same_nodes(ring(CELLS)) and fields.mesh.domain == ring(CELLS).domain
    assert {name: fields.attributes[name] for name in ("licence", "attribution", "title")} == {
        "licence": "CC-BY-4.0",
        "attribution": "the authors",
        "title": "noise",
    }
    assert fields.attributes["calendar"] == "standard"


def test_a_monthly_store_names_its_calendar_step(tmp_path: Path) -> None:
    time_step = TimeStep.parse("1 month")
    write(tmp_path / "a.zarr", series(time_step), time_step, attributes={"calendar": "360_day"})
    store = opened(tmp_path / "a.zarr").store.attrs
    assert store["frequency"] == "730h" and store["calendar_step"] == "1 month" and store["calendar"] == "360_day"
    assert store["end_date"] == "2000-10-01T00:00:00" and store["statistics_end_date"] == "2000-08-01T00:00:00"
    assert open_fields(str(tmp_path / "a.zarr")).time_step == time_step


@pytest.mark.parametrize(("count", "members"), [(300, 1), (7, 3)])
def test_chunks_hold_few_dates(tmp_path: Path, count: int, members: int) -> None:
    write(tmp_path / "a.zarr", series(TimeStep(60), count, members), TimeStep(60))
    chunks = opened(tmp_path / "a.zarr").store["data"].chunks
    assert chunks == (min(24, count), 2, members, CELLS)


def test_a_variable_has_chunks_of_its_own_where_they_are_not_tiny(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {}
    for least in (1, 24 * 2 * CELLS * 4 + 1):
        monkeypatch.setattr(create, "LEAST_CHUNK_BYTES", least)
        write(tmp_path / f"{least}.zarr", series(TimeStep(60), 30), TimeStep(60))
        shapes[least] = opened(tmp_path / f"{least}.zarr").store["data"].chunks
    assert list(shapes.values()) == [(24, 1, 2, CELLS), (24, 2, 2, CELLS)]


def test_each_trajectory_of_what_is_too_large_for_memory_has_chunks_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "ALWAYS_KEPT", 0.0)
    for axis, together in (("trajectory", 1), ("member", 3)):
        path = tmp_path / f"{axis}.zarr"
        write(path, series(TimeStep(60), 30, 3), TimeStep(60), ensemble_axis=axis)
        assert opened(path).store["data"].chunks == (24, 2, together, CELLS)
        fields = open_fields(str(path))
        every = fields.read(slice(None), fields.variables)
        for rows in ([1], slice(1, 3), [0, 2], [2, 1]):
            assert np.array_equal(fields.read(slice(20, 27), fields.variables, rows), every[20:27, rows])


def test_an_output_that_exists_is_kept_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", series(TimeStep(60), count=4), TimeStep(60))
    with pytest.raises(MeshcastError, match="exists"):
        write(tmp_path / "a.zarr", series(TimeStep(60), count=5), TimeStep(60))
    assert len(opened(tmp_path / "a.zarr").dates) == 4
    write(tmp_path / "a.zarr", series(TimeStep(60), count=5), TimeStep(60), overwrite=True)
    assert len(opened(tmp_path / "a.zarr").dates) == 5
    assert left_over(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("task", ["init", "finalise", "verify"])
def test_a_full_disk_leaves_nothing_but_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, overwrite: bool
) -> None:
    if overwrite:
        write(tmp_path / "a.zarr", series(TimeStep(60), count=4), TimeStep(60))
    fail_in(monkeypatch, task, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(MeshcastError, match=r"disk is full.*a\.zarr was not written"):
        write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60), overwrite=overwrite)
    assert left_over(tmp_path) == (["a.zarr"] if overwrite else [])
    assert not overwrite or len(opened(tmp_path / "a.zarr").dates) == 4


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, "finalise", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60))
    assert left_over(tmp_path) == []


def fail_in(monkeypatch: pytest.MonkeyPatch, task: str, error: BaseException) -> None:
    from anemoi.datasets.create import tasks

    run_task = tasks.run_task

    def failing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == task:
            raise error
        return run_task(name, *args, **kwargs)

    monkeypatch.setattr(tasks, "run_task", failing)


def test_a_folder_that_is_no_dataset_of_ours_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.tex").write_text("years of work")
    with pytest.raises(MeshcastError, match="nothing that Meshcast wrote"):
        write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60), overwrite=True)
    assert left_over(tmp_path / "a.zarr") == ["thesis.tex"] and left_over(tmp_path) == ["a.zarr"]


def test_a_dataset_that_cannot_be_read_is_not_said_to_be_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60))

    def failing(path: Path, **how: Any) -> str:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(OSError, match="Input/output error"):
        create.check_output(tmp_path / "a.zarr", overwrite=True)


def test_an_output_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "a.zarr"), pytest.raises(MeshcastError, match="is being written by process"):
        write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60), overwrite=True)
    assert left_over(tmp_path) == []


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MeshcastError, match=r"Cannot write .*a\.zarr: "):
        write(tmp_path / "file" / "a.zarr", series(TimeStep(60)), TimeStep(60))
    with pytest.raises(MeshcastError, match=r"must end in \.zarr"):
        write(tmp_path / "a.nc", series(TimeStep(60)), TimeStep(60))


def test_what_an_earlier_interruption_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".a.zarr.another_1-00000000-1-abcd.part" / "a.zarr").mkdir(parents=True)
    write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60))
    assert left_over(tmp_path) == ["a.zarr"]


def test_times_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    fields = series(TimeStep(60))
    with pytest.raises(MeshcastError, match="no whole number of steps of 45s"):
        write(tmp_path / "a.zarr", fields, TimeStep(45))
    with pytest.raises(MeshcastError, match="must increase"):
        write(tmp_path / "a.zarr", fields.isel(time=slice(None, None, -1)), TimeStep(60))
    with pytest.raises(MeshcastError, match="12 cells, but lie on a ring of 16 nodes"):
        settings: dict[str, Any] = {"ensemble_axis": "member", "attributes": {}}
        create_dataset(tmp_path / "a.zarr", fields, mesh=ring(16), time_step=TimeStep(60), **settings)
    assert left_over(tmp_path) == []


def test_anemoi_is_quiet_and_floating_point_settings_are_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = np.geterr(), logging.getLogger("anemoi").level
    with caplog.at_level(logging.DEBUG):
        write(tmp_path / "a.zarr", series(TimeStep(60)), TimeStep(60))
    assert (np.geterr(), logging.getLogger("anemoi").level) == before
    assert capfd.readouterr() == ("", "") and not [record for record in caplog.records if "anemoi" in record.name]


def test_dates_of_a_timeline_are_counted_by_its_own_calendar() -> None:
    times = np.array(["1999-12-31", "2000-01-31", "2000-03-31"], dtype="datetime64[s]").astype(np.int64)
    timeline = Timeline.of(times, TimeStep.parse("1 month"))
    assert to_datetime(timeline.true).astype("datetime64[D]").astype(str).tolist() == [
        "1999-12-31",
        "2000-01-31",
        "2000-02-29",
        "2000-03-31",
    ]
    assert timeline.present.tolist() == [0, 1, 3] and len(np.unique(np.diff(timeline.nominal))) == 1
    whole = Timeline.of(timeline.true, TimeStep.parse("1 month"))
    assert whole.present.tolist() == [0, 1, 2, 3] and np.all(np.diff(whole.nominal) == 730 * 3600)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinite_values_are_refused_by_name_place_and_time(tmp_path: Path, value: float) -> None:
    fields = series(TimeStep(3600), count=3)
    name = str(next(iter(fields)))
    fields[name] = fields[name].astype(np.float64)
    fields[name][dict(time=1, number=0, cell=2)] = value
    with pytest.raises(MeshcastError, match=rf"{name} has 1 infinite values; the first is .* at .*01:00:00, cell 2"):
        write(tmp_path / "a.zarr", fields, TimeStep(3600))
    assert left_over(tmp_path) == []


def test_a_variable_without_a_value_is_refused_and_one_with_a_single_value_is_not(tmp_path: Path) -> None:
    fields = series(TimeStep(3600), count=3)
    fields["sst"][:] = np.nan
    with pytest.raises(MeshcastError, match=r"sst has no value: all 72 are missing\. Leave it out"):
        write(tmp_path / "a.zarr", fields, TimeStep(3600))
    assert left_over(tmp_path) == []
    fields["sst"][dict(time=1, number=0, cell=2)] = 1.0
    write(tmp_path / "a.zarr", fields, TimeStep(3600))
    assert np.isfinite(opened(tmp_path / "a.zarr")[1]).sum() == CELLS * 2 + 1
