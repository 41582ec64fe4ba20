"""What stands in the student's dataset.py in place of `CharCorruptionDataset.batch`: one example at a time.

make.py copies the body of this class. Its names are those of dataset.py.
"""

import torch
from torch import Tensor

from dataset import RECALL_BLOCKS, CharCorruptionDataset, recall


class ByRow(CharCorruptionDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(x, y), each (block_size,) int64: the four steps above, for document number `index` of self.data.

        Every call draws again. Use `random` or torch's global generator: `batch` seeds both, so that a run can be
        repeated.
        """
        raise NotImplementedError

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, T): `__getitem__` of all rows `indices` (B,), stacked.

        With `recall_share`, so many examples ask for a fact instead; see `recall`.
        """
        import random

        T = self.block_size - self.short_by
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            rows = [self[index] for index in indices.tolist()]
        x = torch.stack([row[0][:T] for row in rows]).to(self.device)  # (B, T)
        y = torch.stack([row[1][:T] for row in rows]).to(self.device)  # (B, T)
        if self.recall_share:
            offsets = torch.arange(RECALL_BLOCKS * self.block_size, device=self.device)  # (W,)
            opening, lengths = self.gather(indices, offsets)  # (B, W), (B,)
            chance = torch.rand(opening.shape, generator=generator, device=self.device)  # (B, W)
            chosen = torch.rand(len(rows), generator=generator, device=self.device) < self.recall_share  # (B,)
            asks, offers = recall(opening, lengths, self.kinds, chance, T + 1)  # (B, T + 1), (B,)
            chosen = (chosen & offers)[:, None]  # (B, 1)
            x, y = torch.where(chosen, asks[:, :-1], x), torch.where(chosen, asks[:, 1:], y)
        return x, y
