"""Fields of anemoi datasets are what `open_dataset` gives, with mesh, step and attributes found again."""

import json
import tracemalloc

import numpy as np
import pytest
from anemoi.datasets import open_dataset

from emulator.data import arrays
from emulator.data.arrays import ArrayFields
from emulator.data.datasets.dataset_fields import DatasetFields
from emulator.data.sources import open_fields
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError

ROWS, COLUMNS = np.meshgrid(np.linspace(60, 50, 5), np.linspace(-5, 4, 10) % 360, indexing="ij")
GRID = {"latitudes": ROWS.ravel(), "longitudes": COLUMNS.ravel()}
RING = {"latitudes": np.zeros(40), "longitudes": np.arange(40) * 9.0, "hours": 1 / 3600, "members": 3}


def test_values_are_those_of_the_store(write_store, tmp_path):
    values = write_store("a.zarr", members=2, **GRID)
    fields = open_fields(str(tmp_path / "a.zarr"))
    read = fields.read(slice(2, 9), ["v", "u"])
    assert np.array_equal(read, values[2:9, ::-1].transpose(0, 2, 3, 1))
    scattered = fields.read(np.array([7, 1, 2]), ["v"], [1])
    assert np.array_equal(scattered[..., 0], values[[7, 1, 2], 1, 1][:, None])
    assert fields.read(slice(0, 1), ["u"], 1).shape == (1, 1, 50, 1)


@pytest.mark.parametrize("keep", [False, True])
def test_join_select_and_dates_equal_the_direct_call(write_store, tmp_path, keep):
    write_store("a.zarr", licence="L1", **GRID)
    write_store("b.zarr", variables=("t", "q"), seed=1, licence="L2", units={"q": "1"}, **GRID)
    names = [str(tmp_path / name) for name in ("a.zarr", "b.zarr")]
    source = {"join": names, "select": ["u", "q"], "start": "2000-01-02", "frequency": "12h"}
    fields, direct = open_fields(source, keep_in_memory=keep), open_dataset(source)
    assert fields.variables == tuple(direct.variables) and fields.variables == ("u", "q")
    assert fields.units == ("K", "1")
    assert fields.attributes["licence"] == "L1; L2"
    assert fields.time_step == TimeStep(12 * 3600)
    assert np.array_equal(fields.times.astype("datetime64[s]"), direct.dates)
    assert np.array_equal(fields.read(slice(None), fields.variables), direct[:].transpose(0, 2, 3, 1))
    assert isinstance(fields, ArrayFields) == keep


def test_a_single_date_of_a_dataset_is_not_said_to_be_damaged(write_store, tmp_path):
    write_store("a.zarr", **GRID)
    last = str(open_dataset(str(tmp_path / "a.zarr")).dates[-1])
    with pytest.raises(MeshcastError, match=r"1 is left, but a time step lies between two"):
        open_fields({"dataset": str(tmp_path / "a.zarr"), "start": last})


def test_a_ring_comes_back_as_a_ring(write_store, tmp_path, ring_attributes):
    values = write_store("r.zarr", **RING, **ring_attributes)
    fields = open_fields(str(tmp_path / "r.zarr"), trajectories=slice(1, None))
    assert (fields.mesh.domain.kind, fields.mesh.domain.size, fields.mesh.num_nodes) == ("ring", 3.0, 40)
    assert fields.time_step == TimeStep(1, "second", 0.1, "s")
    assert (fields.ensemble_axis, fields.ensemble_size) == ("trajectory", 2)
    assert np.array_equal(fields.read(slice(0, 2), ["u"])[..., 0], values[:2, 0, 1:])
    every_second = open_fields({"dataset": str(tmp_path / "r.zarr"), "frequency": "2s"})
    assert every_second.time_step == TimeStep(2, "second", 0.2, "s")


def test_a_grid_and_a_part_of_it_keep_their_structure(write_store, tmp_path):
    write_store("a.zarr", **GRID)
    whole = open_fields(str(tmp_path / "a.zarr"))
    assert whole.mesh.shape == (5, 10) and whole.mesh.domain.kind == "limited_area"
    assert np.allclose(whole.mesh.longitudes, GRID["longitudes"])
    part = open_fields({"dataset": str(tmp_path / "a.zarr"), "area": [58, -3, 51, 2]})
    assert part.mesh.structured and part.mesh.num_nodes == part.read(slice(0, 1), ["u"]).shape[2] < 50


def test_months_keep_their_dates_and_their_step(write_store, tmp_path):
    dates = np.array([f"2005-{month:02d}-01" for month in range(1, 7)], "datetime64[s]")
    write_store("m.zarr", dates=dates, hours=730, calendar_step="1 month", calendar="standard", **GRID)
    fields = open_fields(str(tmp_path / "m.zarr"))
    assert fields.time_step == TimeStep(1, "month") and fields.attributes["calendar"] == "standard"
    assert np.array_equal(fields.time_step.advance(fields.times[:-1]), fields.times[1:])


def test_missing_dates_are_named_and_refused(write_store, tmp_path):
    write_store("a.zarr", missing_dates=["2000-01-01T12:00:00"], **GRID)
    for fields in (open_fields(str(tmp_path / "a.zarr")), open_fields(str(tmp_path / "a.zarr"), keep_in_memory=True)):
        assert fields.missing == {2}
        assert fields.read(np.array([1, 3]), ["u"]).shape[0] == 2
        with pytest.raises(MeshcastError, match="2000-01-01T12"):
            fields.read(slice(0, 4), ["u"])


def test_what_is_not_there_is_named(write_store, tmp_path):
    write_store("a.zarr", **GRID)
    with pytest.raises(MeshcastError, match=r"no variable w.*has u, v"):
        open_fields(str(tmp_path / "a.zarr")).read(slice(0, 1), ["w"])
    with pytest.raises(MeshcastError, match=r"none\.zarr"):
        open_fields(str(tmp_path / "none.zarr"))
    with pytest.raises(MeshcastError, match="Cannot open"):
        open_fields({"dataset": str(tmp_path / "a.zarr"), "selct": ["u"]})


def test_plain_arrays_are_trajectories_on_a_ring(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 6, 2, 16)).astype(np.float32)
    np.save(tmp_path / "ks_train.npy", values)
    fields = open_fields(str(tmp_path / "ks_train.npy"), trajectories=slice(1, 3))
    assert fields.variables == ("u0", "u1") and fields.mesh.domain.kind == "ring"
    assert np.array_equal(fields.read(slice(2, 5), ["u1"])[..., 0], values[1:3, 2:5, 1].transpose(1, 0, 2))
    np.save(tmp_path / "flat.npy", values[0])
    with pytest.raises(MeshcastError, match=r"trajectory, frame, channel, node.*\[6, 2, 16\]"):
        open_fields(str(tmp_path / "flat.npy"))
    with pytest.raises(MeshcastError, match=r"no file .*none\.npy"):
        open_fields(str(tmp_path / "none.npy"))


def test_an_array_of_pickled_objects_executes_nothing(tmp_path):
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return (marker.touch, ())

    np.save(tmp_path / "bad.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(MeshcastError, match=r"not a \.npy array"):
        open_fields(str(tmp_path / "bad.npy"))
    assert not marker.exists()


def test_what_a_reader_does_to_fields_stays_with_the_reader(write_store, tmp_path):
    values = write_store("a.zarr", **GRID)
    fields = open_fields(str(tmp_path / "a.zarr"), keep_in_memory=True)
    fields.read(slice(0, 5), fields.variables)[...] = 0.0
    assert np.array_equal(fields.read(slice(0, 5), ["u"])[:, 0, :, 0], values[:5, 0, 0])


@pytest.mark.parametrize(("left", "kept"), [(10**6, True), (100, False), (None, False)])
def test_variables_are_kept_in_memory_where_they_take_less_than_half_of_what_is_left(
    write_store, tmp_path, monkeypatch, left, kept
):
    values = write_store("a.zarr", variables=("u", "v", "w"), **GRID)
    monkeypatch.setattr(arrays, "ALWAYS_KEPT", 0.0)
    monkeypatch.setattr(arrays, "READ_WHOLE", 0)
    monkeypatch.setattr(arrays, "available_memory", lambda: left)
    fields = open_fields(str(tmp_path / "a.zarr"), keep_in_memory=True)
    read, of_the_store = [], DatasetFields._read

    def counted(self, times, rows, columns):
        read.extend(columns)
        return of_the_store(self, times, rows, columns)

    monkeypatch.setattr(DatasetFields, "_read", counted)
    assert fields.unkept.read(slice(0, 2), fields.variables).shape == (2, 1, 50, 3)
    read.clear()
    for names, asked in ((["w"], {2}), (["w", "u"], {0, 2}), (["u", "w", "u"], {0, 2})):
        for times in (slice(3, 5), [1]):
            found = fields.read(times, names)
            columns = [fields.variables.index(name) for name in names]
            assert np.array_equal(found, values[times][:, columns].transpose(0, 2, 3, 1))
        assert set(read) == asked
    assert (sorted(read) == [0, 2]) == kept


def test_a_dataset_that_is_not_there_is_named_wherever_it_stands_in_the_source(write_store, tmp_path):
    write_store("a.zarr", **GRID)
    source = {"join": [str(tmp_path / "a.zarr"), {"dataset": "data/nowhere.zarr"}], "start": "2000-01-02"}
    with pytest.raises(MeshcastError, match=r"There is no file or dataset data/nowhere\.zarr\. Name one that"):
        open_fields(source)


@pytest.mark.parametrize("piece", ["data/0.0.0.0", "dates/0", "latitudes/0", "longitudes/0"])
def test_a_dataset_that_has_lost_a_piece_is_refused_and_none_is_made_up(write_store, tmp_path, piece):
    write_store("a.zarr", **GRID)
    (tmp_path / "a.zarr" / piece).unlink()
    with pytest.raises(MeshcastError, match=rf"pieces of its {piece.split('/')[0]} only .*{piece} is the first"):
        open_fields(str(tmp_path / "a.zarr"))


@pytest.mark.parametrize(("axis", "size"), [(0, 10**12), (2, 10**8)])
def test_a_dataset_that_declares_more_pieces_than_it_has_is_refused_at_once(write_store, tmp_path, axis, size):
    write_store("a.zarr", **GRID)
    header = json.loads((tmp_path / "a.zarr/data/.zarray").read_text())
    header["shape"][axis] = size
    (tmp_path / "a.zarr/data/.zarray").write_text(json.dumps(header))
    tracemalloc.start()
    try:
        with pytest.raises(MeshcastError):
            open_fields(str(tmp_path / "a.zarr"))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("change", [lambda old: old[: len(old) // 2], lambda old: b"", lambda old: bytes(len(old))])
@pytest.mark.parametrize("piece", ["data/0.0.0.0", "dates/0", "latitudes/0"])
def test_a_dataset_with_a_damaged_piece_is_refused_in_our_words(write_store, tmp_path, piece, change):
    write_store("a.zarr", **GRID)
    path = tmp_path / "a.zarr" / piece
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MeshcastError, match=r"a\.zarr"):
        open_fields(str(tmp_path / "a.zarr")).read(slice(None), ["u"])


def test_a_dataset_whose_dates_are_not_as_many_as_its_fields_is_refused(write_store, tmp_path):
    write_store("a.zarr", **GRID)
    header = tmp_path / "a.zarr/dates/.zarray"
    content = json.loads(header.read_text())
    header.write_text(json.dumps({**content, "shape": [], "chunks": []}))
    (header.parent / "0").write_bytes((header.parent / "0").read_bytes())
    with pytest.raises(MeshcastError, match=r"a\.zarr"):
        open_fields(str(tmp_path / "a.zarr"))


@pytest.mark.parametrize("together", [1, 2, 5])
def test_chunks_of_variables_that_nobody_asks_for_are_not_read(write_store, tmp_path, together):
    import zarr

    names = tuple("abcde")
    values = write_store("a.zarr", variables=names, members=2, **GRID)
    store = zarr.open_group(str(tmp_path / "a.zarr"), mode="r+")
    del store["data"]
    store.create_dataset("data", data=values, chunks=(5, together, 2, 50))
    read = []

    class Counted(zarr.DirectoryStore):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    fields = open_fields(str(tmp_path / "a.zarr"))
    (opened,) = fields.stores
    array = zarr.open_array(Counted(str(tmp_path / "a.zarr" / "data")), mode="r")
    opened.data = array
    for wanted in (["a"], ["e", "a"], ["d", "b", "c"], ["b", "a", "b"], list(names)):
        read.clear()
        columns = [names.index(name) for name in wanted]
        for rows in (slice(None), [1], [1, 0]):
            found = fields.read(slice(2, 9), wanted, rows)
            assert np.array_equal(found, values[2:9, columns][:, :, rows].transpose(0, 2, 3, 1))
        pieces = {key for key in read if key[0].isdigit()}
        assert pieces == {f"{date}.{column // together}.0.0" for date in (0, 1) for column in columns}
        assert len([key for key in read if key in pieces]) == 3 * len(pieces)
