"""The curves of a training are those of its log, and say what they are."""

from pathlib import Path

import pytest

from graphs.errors import MeshcastError
from inference.pictures.score_curves import loss_curves


def test_both_kinds_of_training_log_are_drawn(tmp_path: Path) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,step,train_loss_epoch,val_loss\n0,10,0.5,\n0,10,,0.6\n1,20,0.25,\n1,20,,0.4\n")
    (axes,) = loss_curves(log).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 2], [1, 2]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training loss", "validation loss"]
    log.write_text("update,epoch,loss,validation_score\n0,0,nan,1.4\n9,0.6,0.9,0.2\n18,1.2,0.8,inf\n27,1.8,0.7,0.3\n")
    upper, lower = loss_curves(log).axes
    assert list(upper.lines[0].get_xdata()) == [0.6, 1.2, 1.8]
    assert list(lower.lines[0].get_ydata()) == [1.4, 0.2, 0.3] and list(lower.lines[1].get_xdata()) == [0.6]
    assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("loss", "score", "epoch")


def test_a_log_without_losses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,accuracy\n1,2\n")
    with pytest.raises(MeshcastError, match="column `epoch`"):
        loss_curves(tmp_path / "log.csv")
    with pytest.raises(MeshcastError, match="Cannot read the training log"):
        loss_curves(tmp_path / "absent.csv")
