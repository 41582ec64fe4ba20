"""`dataset` of the handouts: that of the core."""

from core import dataset as ours

CharCorruptionDataset, NameDataset = ours.CharCorruptionDataset, ours.NameDataset
