"""Batches for Lightning: each rank's share of the stream and of the validation starts."""

from __future__ import annotations

import lightning as L
from torch.utils.data import DataLoader

from graphs.errors import MeshcastError
from training.experiment import TrainingConfig
from training.preparation.windows import Batch, Share, ShuffledStream, Windows


class WindowData(L.LightningDataModule):
    """Training windows in a shuffled stream that starts at `start` updates, and validation starts taken once each."""

    def __init__(self, windows: Windows, starts: Windows, config: TrainingConfig, start: int) -> None:
        super().__init__()
        self.windows, self.starts, self.config, self.start = windows, starts, config, start

    def train_dataloader(self) -> DataLoader[Batch]:
        config, rank, ranks = self.config, *self._rank()
        stream = ShuffledStream(
            len(self.windows), config.batch_size, config.updates, config.seed, self.start, rank, ranks
        )
        return DataLoader(self.windows, batch_size=config.batch_size, sampler=stream, num_workers=config.num_workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        rank, ranks = self._rank()
        if len(self.starts) < ranks:
            raise MeshcastError(
                f"{ranks} processes validate on {len(self.starts)} starts, but each needs one. Set validation.cases to "
                f"{ranks} or more, give a longer validation part, or use fewer devices."
            )
        share = Share(len(self.starts), rank, ranks)
        return DataLoader(self.starts, batch_size=min(self.config.batch_size, 16), sampler=share)

    def _rank(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size
