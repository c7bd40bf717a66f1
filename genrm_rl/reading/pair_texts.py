"""The texts of judged pairs, found again in the data that a run's settings name: a run keeps ids, not copies.

A pair is known by the hash of its texts, so what is found is what was judged, whatever has happened to the files.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.preferences.nulls import KIND, NULLS, SOURCE, null_pair
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.turns import BadRow
from genrm_rl.preferences.types import PreferencePair, content_hash
from genrm_rl.preferences.validation import PairReader
from genrm_rl.preferences.world import world_pairs
from genrm_rl.reading.text_store import TextStore
from genrm_rl.reading.types import Texts

DRAWS = 12  # no kind of null answer has more texts to draw from


def find_pairs(
    config: DataConfig, seed: int, store: TextStore, pairs: Collection[str], answers: Collection[str]
) -> list[str]:
    """Put the texts of these pairs, and those whose chosen answer has one of these hashes, into the store. Returns a
    sentence for each source that can't be read any more."""
    notes = []
    held_out = [(source, 0.0) for source in (*config.test, *config.gate)]
    trained = [(source, config.world.label_noise) for source in config.train]
    for source, noise in held_out + trained:
        try:
            for pair in _pairs(source, config, seed, noise):
                if pair.id in pairs:
                    store.add_pair(pair)
                if config.null_negatives and source in config.train and not pair.tie:
                    store.add_train(content_hash(seed, SOURCE, pair.id), pair)
                if answers and (digest := content_hash(pair.chosen)) in answers:
                    store.add_chosen(digest, pair)
        except DataError as problem:
            notes.append(f"texts of the source {source.label} can't be found again: {problem}")
    _add_null_negatives(seed, store, pairs)
    return notes


def _add_null_negatives(seed: int, store: TextStore, pairs: Collection[str]) -> None:
    """Null answers beside training pairs, made again: the other prompt's answer is that of the next pair."""
    drawn = store.take_train()
    first = next(drawn, None)
    if first is None:
        return
    for pair, other in itertools.pairwise(itertools.chain([first], drawn, [first])):
        for made in (null_pair(pair, other, kind, seed) for kind in NULLS):
            if made is not None and made.id in pairs:
                store.add_pair(made)


def _pairs(source: SourceConfig, config: DataConfig, seed: int, noise: float) -> Iterator[PreferencePair]:
    """All pairs of a source, also those that the run left out."""
    if source.world is not None:
        yield from world_pairs(str(source.world), source.limit, seed, cue=config.world.cue, label_noise=noise)
        return
    reader = PairReader(source, keep_ties=True)
    for row in read_rows(source, Path(config.root)):
        with suppress(BadRow):  # the run has counted or refused it
            yield from reader.pairs(row)


def null_texts(record: JudgmentRecord, store: TextStore) -> Texts | None:
    """The texts of a judged null pair: the answer that people preferred, and the null answer that is made of it."""
    kind, rejected = str(record.meta[KIND]), str(record.meta["rejected_id"])
    others = [found.a for found in store.chosen(rejected)] if kind == "other_answer" else [""]
    for base in store.chosen(str(record.meta["chosen_id"])):
        for made in (NULLS[kind](base.a, other, number) for other in others for number in range(DRAWS)):
            if content_hash(made) == rejected:
                pair = PreferencePair.create(base.prompt, base.a, made, guide=base.guide)
                if pair.id == record.pair_id:
                    shown = pair.comparison()
                    return Texts(shown.prompt, shown.response_a, shown.response_b, shown.guide)
    return None
