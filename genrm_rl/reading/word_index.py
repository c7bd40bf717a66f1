"""Which items have which words, in files small enough that a page loads only the one that its search needs.

A word's file follows from its first two UTF-16 units, so that words with the same beginning are in one file and the
last word of a search may be unfinished. ``reader.js`` computes the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

BUCKETS = 128  # files of words at most; a power of two
ITEMS_PER_BUCKET = 400  # of a small run: fewer files
WORD = re.compile(r"\w+")
LONGEST_WORD = 40
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


def words_of(texts: Iterable[str]) -> set[str]:
    """The words of an item, in small letters, cut where nobody would write further."""
    return {word[:LONGEST_WORD] for text in texts for word in WORD.findall(text.lower())}


def bucket_of(word: str) -> int:
    """The file of a word among ``BUCKETS``."""
    first, second = ((word.encode("utf-16-le", "surrogatepass") + b"\0\0")[i : i + 2] for i in (0, 2))
    return (int.from_bytes(first, "little") * 31 + int.from_bytes(second, "little")) % BUCKETS


class WordIndex:
    """Takes items in order and keeps their words on disk until :meth:`files` sorts them, file by file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._paths = [folder / f"{number}.txt" for number in range(BUCKETS)]
        self._files = [open(path, "w", encoding="utf-8", errors="surrogatepass") for path in self._paths]  # noqa: SIM115
        self._known: dict[str, int] = {}
        self.items = 0

    def add(self, texts: Iterable[str]) -> None:
        """The next item."""
        number = self.items
        for word in words_of(texts):
            start = word[:2]
            bucket = self._known.get(start)
            if bucket is None:
                bucket = self._known[start] = bucket_of(word)
            self._files[bucket].write(f"{word} {number}\n")
        self.items += 1

    @property
    def buckets(self) -> int:
        """How many files there are to be: a power of two, so that a word's file is ``bucket_of(word) % buckets``."""
        wanted = min(BUCKETS, max(1, self.items // ITEMS_PER_BUCKET))
        return 1 << (wanted.bit_length() - 1)

    def files(self) -> Iterator[tuple[int, str]]:
        """Number of each file, and its words with the items that have them, as one JSON string: ``word steps,word
        steps`` (:func:`steps`). A word has neither a comma nor a blank."""
        for file in self._files:
            file.close()
        for number in range(self.buckets):
            found: dict[str, list[int]] = {}
            for path in self._paths[number :: self.buckets]:
                with open(path, encoding="utf-8", errors="surrogatepass") as lines:
                    for line in lines:
                        word, item = line.split(" ")
                        found.setdefault(word, []).append(int(item))
                path.unlink()
            yield number, json.dumps(",".join(f"{word} {steps(found[word])}" for word in sorted(found)))


def steps(items: Iterable[int]) -> str:
    """Rising numbers as steps from the one before, in digits of five bits, of which the last of each step is one of the
    upper half of ``DIGITS``: 3, 5, 41 is ``ZY1a``."""
    last, said = 0, []
    for item in items:
        said.append(_digits(item - last))
        last = item
    return "".join(said)


@cache
def _digits(number: int) -> str:
    rest, last = divmod(number, 32)
    said = DIGITS[32 + last]
    while rest:
        rest, digit = divmod(rest, 32)
        said = DIGITS[digit] + said
    return said
