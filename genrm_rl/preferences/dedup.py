"""Equal and nearly equal prompts, found exactly (no hashing tricks) and fast enough for tens of thousands of prompts.

Two prompts are *equal* if their texts are the same up to case and white space, *near-duplicates* if the Jaccard
similarity of their sets of word 3-grams reaches the threshold. A prompt of fewer than three words has no 3-grams and
is compared for equality only. 3-grams that occur in more than half of the prompts of one source are that source's
boilerplate (a fixed instruction) and are ignored, so that sharing a form does not make prompts alike.

Candidates come from an inverted index with prefix filtering (Chaudhuri et al. 2006; AllPairs, Bayardo et al. 2007):
two sets with similarity t share at least one of their |x| - ceil(t |x|) + 1 rarest elements.

Our own because MinHash (datasketch, rensa) misses some near-duplicates at the threshold, and each is a leak.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from genrm_rl.preferences.types import Message, PreferencePair

_WORD = re.compile(r"\w+|[^\w\s]+")
SHINGLE_WORDS = 3
BOILERPLATE_SHARE = 0.5
BOILERPLATE_MIN_PROMPTS = 8  # with fewer prompts, "more than half" says nothing

Shingles = frozenset[int]  # 64-bit hashes of 3-grams; only equality within one process is used


def prompt_key(prompt: Sequence[Message]) -> str:
    """The text by which prompts are compared: all turns, case folded, white space collapsed."""
    return "\n".join(f"{turn.role}: {' '.join(turn.content.casefold().split())}" for turn in prompt)


def prompt_shingles(prompt: Sequence[Message]) -> Shingles:
    """Word 3-grams of the prompt's turns (roles are not words; punctuation is)."""
    words = [word for turn in prompt for word in _WORD.findall(turn.content.casefold())]
    return frozenset(hash(tuple(words[i : i + SHINGLE_WORDS])) for i in range(len(words) - SHINGLE_WORDS + 1))


class PromptTable:
    """The distinct prompts of all sides, prepared for similarity search once.

    ``threshold`` is the Jaccard similarity from which prompts count as near-duplicates; 1.0 finds only equal ones.
    """

    def __init__(self, pairs: Iterable[PreferencePair], threshold: float) -> None:
        self.threshold = threshold
        self._keys: dict[str, str] = {}
        shingles: dict[str, Shingles] = {}
        sources: defaultdict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            key = self._keys.setdefault(pair.id, "") or prompt_key(pair.prompt)
            self._keys[pair.id] = key
            if key not in shingles:
                shingles[key] = prompt_shingles(pair.prompt) if threshold < 1.0 else frozenset()
            sources[pair.source].add(key)
        self._frequency: Counter[int] = Counter()
        boilerplate: set[int] = set()
        for keys in sources.values():
            counts = Counter(shingle for key in keys for shingle in shingles[key])
            self._frequency.update(counts)
            if len(keys) >= BOILERPLATE_MIN_PROMPTS:
                boilerplate.update(shingle for shingle, n in counts.items() if n > BOILERPLATE_SHARE * len(keys))
        self._shingles = {key: found - boilerplate for key, found in shingles.items()}
        self._prefixes = {key: self._rarest(found) for key, found in self._shingles.items()}

    def key(self, pair: PreferencePair) -> str:
        """The pair's :func:`prompt_key`."""
        return self._keys[pair.id]

    def index(self, keys: Iterable[str]) -> dict[int, list[str]]:
        """Inverted index of some of the prompts, for :meth:`similar`."""
        postings: defaultdict[int, list[str]] = defaultdict(list)
        for key in keys:
            for shingle in self._prefixes[key]:
                postings[shingle].append(key)
        return postings

    def similar(self, key: str, index: Mapping[int, Sequence[str]]) -> list[str]:
        """Indexed prompts at or above the threshold, in a fixed order; an indexed prompt is similar to itself."""
        shingles, found = self._shingles[key], []
        for name in sorted({name for shingle in self._prefixes[key] for name in index.get(shingle, ())}):
            other = self._shingles[name]
            if self.threshold * max(len(shingles), len(other)) <= min(len(shingles), len(other)) + 1e-9:
                shared = len(shingles & other)
                if shared >= self.threshold * (len(shingles) + len(other) - shared) - 1e-9:
                    found.append(name)
        return found

    def clusters(self, keys: Iterable[str]) -> list[list[str]]:
        """Prompts grouped so that near-duplicates, directly or through others, are in one group."""
        names = list(keys)
        index, parent = self.index(names), {name: name for name in names}

        def root(name: str) -> str:
            while parent[name] != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        for name in names:
            for other in self.similar(name, index):
                parent[root(other)] = root(name)
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            groups[root(name)].append(name)
        return list(groups.values())

    def _rarest(self, shingles: Shingles) -> list[int]:
        """The prefix of a set in one global order (by frequency): two similar sets share an element of it.

        Elements that no other prompt has are left out of it, as nothing can be found through them.
        """
        size = len(shingles) - math.ceil(self.threshold * len(shingles) - 1e-9) + 1
        ordered = sorted((self._frequency[shingle], shingle) for shingle in shingles)[:size]
        return [shingle for frequency, shingle in ordered if frequency > 1]
