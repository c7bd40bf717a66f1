"""A controlled world of short verifiable tasks, in which a reward model's habits can be told apart by experiment."""

from genrm_rl.preferences.world.families import (
    FAMILIES,
    LABELLED_FAMILIES,
    PARTITION_BUCKETS,
    UNLABELLED_FAMILIES,
    Family,
    Length,
    Partition,
    family_of,
    near_miss,
    partition_of,
    solve,
)
from genrm_rl.preferences.world.pairs import PAIR_SETS, PairSet, pair_set, questions, world_pairs
from genrm_rl.preferences.world.style import Style, dress, strip_style, style_of, verify

__all__ = [
    "FAMILIES",
    "LABELLED_FAMILIES",
    "PAIR_SETS",
    "PARTITION_BUCKETS",
    "UNLABELLED_FAMILIES",
    "Family",
    "Length",
    "PairSet",
    "Partition",
    "Style",
    "dress",
    "family_of",
    "near_miss",
    "pair_set",
    "partition_of",
    "questions",
    "solve",
    "strip_style",
    "style_of",
    "verify",
    "world_pairs",
]
