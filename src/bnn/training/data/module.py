"""Batches for Lightning: the order of an epoch depends on nothing but its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from bnn.training.data.enlarge import take_batch
from bnn.training.data.registry import IGNORED, DataSplits, ImageData
from bnn.training.seeds import derive_seed


class _Items(Dataset[Any]):
    """A data set of which a loader asks whole batches; indices beyond the end are fillers."""

    def __init__(self, data: ImageData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        size = len(self.data)
        inside = [index if index < size else 0 for index in indices]
        images, labels = take_batch(self.data, inside)
        beyond = torch.tensor([index >= size for index in indices])
        return images, labels.masked_fill(beyond, IGNORED)


class _InTurn(Sampler[int]):
    """Every ``world``-th index from ``rank`` on. Each rank gets as many, by fillers at the end.

    The ranks must make the same number of forward passes: each is a meeting point of DDP.
    """

    def __init__(self, size: int, world: int, rank: int) -> None:
        self.size, self.world, self.rank = size, world, rank

    def __len__(self) -> int:
        return -(-self.size // self.world)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self) * self.world, self.world))


class _EpochLoader(DataLoader[Any]):
    """A loader whose every iteration seeds its workers the same, however often it is begun.

    Lightning begins an epoch's iterator once or twice, depending on whether it resumed.
    """

    worker_seed: int = 0

    def __iter__(self) -> Any:
        if self.generator is not None:
            self.generator.manual_seed(self.worker_seed)
        return super().__iter__()


class TrainingData(pl.LightningDataModule):
    """Training and held-out batches of one step.

    The trainer must be made with ``use_distributed_sampler=False`` and
    ``reload_dataloaders_every_n_epochs=1``.

    Args:
        splits: What :func:`bnn.training.load_data` returned.
        batch_size: Samples for each device.
        num_workers: Loading processes.
        seed: The run's seed.
        step: Index of the recipe's step.
    """

    def __init__(
        self, splits: DataSplits, *, batch_size: int, num_workers: int, seed: int, step: int
    ) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.step = step

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the trainer's current epoch, shuffled, for this rank."""
        world, rank = self._place()
        epoch = self.trainer.current_epoch if self.trainer else 0
        items = _Items(self.splits.train)
        sampler: DistributedSampler[Any] = DistributedSampler(
            items,
            num_replicas=world,
            rank=rank,
            shuffle=True,
            seed=derive_seed(self.seed, "order", self.step, epoch),
        )
        # A last batch of a few samples would disturb the running statistics of batch norm.
        full = len(sampler) >= self.batch_size
        loader = self._loader(items, sampler, drop_last=full)
        loader.worker_seed = derive_seed(self.seed, "workers", self.step, epoch, rank)
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the held-out batches, in order, for this rank."""
        world, rank = self._place()
        items = _Items(self.splits.test)
        return self._loader(items, _InTurn(len(items), world, rank), drop_last=False)

    def norm_batches(self, count: int) -> DataLoader[Any]:
        """Return up to so many training batches as they are held out: in a fixed order, unchanged.

        A batch is that of all ranks together, of which each gets its share.
        """
        world, rank = self._place()
        items = _Items(self.splits.train)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batch norm", self.step))
        order = torch.randperm(len(items), generator=generator)
        share = min(self.batch_size, len(items) // world)
        if not share:  # fewer images than ranks, which must all run as often
            return self._loader(items, order.tolist(), drop_last=False)
        count = min(count, len(items) // (share * world))
        mine = order[: count * world * share].view(count, world, share)[:, rank]
        return self._loader(items, mine.flatten().tolist(), drop_last=False, batch_size=share)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Augment training batches."""
        augment = self.splits.augment
        if augment is None or self.trainer is None or not self.trainer.training:
            return batch
        images, labels = batch
        return augment(images), labels

    def _loader(
        self,
        items: Dataset[Any],
        sampler: Sampler[int] | list[int],
        *,
        drop_last: bool,
        batch_size: int | None = None,
    ) -> _EpochLoader:
        return _EpochLoader(
            items,
            batch_size=batch_size or self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),
        )

    def _place(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank


def _as_it_is(batch: Any) -> Any:
    return batch  # `__getitems__` has collated it
