"""TensorBoard: event files in the run folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.tracking.tracker import Outcome, Row, TrackedRun, refuse_absent

FOLDER, KEPT = "tensorboard", "tensorboard_update"


class TensorBoardTracker:
    """Event files, one a start of the run; steps are updates.

    They are written by TensorBoard's own records, without TensorFlow. What a start that was killed wrote beyond the
    update that tracking.json knows of is hidden by the mark that TensorBoard has for it, and written again.

    Raises MeshcastError where the package is missing.
    """

    name = "TensorBoard"
    key = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        refuse_absent("tensorboard", "tracking.tensorboard=true")
        self._tracked = run
        self._writer: Any = None
        self._file: Any = None
        self.notices: list[str] = []

    def open(self) -> int:
        """See `Tracker`."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._close()
        folder, done = self._tracked.folder / FOLDER, self._tracked.memory.get(KEPT, -1)
        folder.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**6}.{self._tracked.memory.id}"
        self._file = (folder / name).open("wb")
        self._writer = RecordWriter(self._file)
        self._write(0, file_version="brain.Event:2")
        if done < 0:
            self._texts({"config": self._tracked.config, "meshcast": self._tracked.facts})
        else:
            self._write(done + 1, session_log=SessionLog(status=SessionLog.START))
        self._file.flush()
        return done

    def log(self, rows: Sequence[Row]) -> None:
        """See `Tracker`."""
        for row in rows:
            if row.picture is not None:
                self._picture(row.update, row.picture)
            self._numbers(row.update, dict(row.values))
        self._file.flush()
        self._tracked.memory.keep(**{KEPT: rows[-1].update})

    def finish(self, outcome: Outcome) -> None:
        """See `Tracker`. TensorBoard keeps no files: of the model it says where it is, and its digest."""
        if outcome.status == "finished":
            self._numbers(0, dict(outcome.scores))
        if outcome.model is not None:
            digest = hashlib.sha256(outcome.model.read_bytes()).hexdigest()
            self._texts({"model": {"file": outcome.model.name, "sha256": digest}})
        self._close()

    def remedy(self) -> str:
        """See `Tracker`."""
        return ""

    def _numbers(self, update: int, values: dict[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(update, summary=Summary(value=found))

    def _picture(self, update: int, path: Path) -> None:
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(path) as picture:
            width, height = picture.size
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=path.read_bytes())
        self._write(update, summary=Summary(value=[Summary.Value(tag="forecast", image=image)]))

    def _texts(self, texts: dict[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto

        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        for name, content in texts.items():
            indented = "\n".join(
                f"    {line}" for line in json.dumps(content, indent=1).splitlines()
            )  # code in Markdown
            tensor = TensorProto(dtype="DT_STRING", string_val=[indented.encode()])
            value = Summary.Value(tag=f"{name}/text_summary", metadata=metadata, tensor=tensor)
            self._write(0, summary=Summary(value=[value]))

    def _write(self, update: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), step=update, **content).SerializeToString())

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
