"""Which prompts a step gets: an order of its own for every epoch, and further prompts for a refill.

Both follow from the seed and the position alone, so that a resumed run draws what the uninterrupted one draws.
"""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from trl.trainer.utils import RepeatSampler


class EpochOrder(RepeatSampler):
    """TRL's sampler with a shuffle that depends on the epoch; epoch 0 is upstream's.

    Upstream (trl 1.16) keeps one generator over all epochs, so a run resumed in a later epoch repeats the first
    epoch's order: some prompts come twice and others never. The trainer calls `set_epoch`.
    """

    epoch = 0

    @classmethod
    def like(cls, sampler: RepeatSampler) -> "EpochOrder":
        """The same sampler, epoch by epoch."""
        return cls(
            data_source=sampler.data_source,
            mini_repeat_count=sampler.mini_repeat_count,
            batch_size=sampler.batch_size,
            repeat_count=sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )

    def set_epoch(self, epoch: int) -> None:
        """Called before an epoch begins."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Indices of the data set, repeated as upstream repeats them."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + self.epoch)
        yield from super().__iter__()


def prompts_of_batch(order: EpochOrder, number: int) -> list[int]:
    """The rows of a batch of rollouts of the run, each once; batches are counted from 0 over all epochs."""
    epoch, place = divmod(number, order.num_samples // order.batch_size)
    once = EpochOrder(order.data_source, 1, order.batch_size, shuffle=order.shuffle, seed=order.seed)
    once.set_epoch(epoch)
    return list(islice(once, place * order.batch_size, (place + 1) * order.batch_size))


def extra_prompts(dataset: Any, count: int, *, copies: int, seed: tuple[int, ...]) -> list[Any]:
    """`count` different rows of the data set, each `copies` times in a row: one group of samples a prompt.

    Raises:
        ValueError: the data set holds fewer than `count` rows.
    """
    if len(dataset) < count:
        raise ValueError(f"got {len(dataset)} prompts, a batch takes {count}")
    drawn = random.Random(repr(seed)).sample(range(len(dataset)), count)
    return [dataset[index] for index in drawn for _ in range(copies)]
