"""A run that ends in the middle."""

from __future__ import annotations

from rich.console import Console


class CutOff(Console):
    """A console whose process ends, as by Ctrl-C, when it is to say certain words."""

    def __init__(self, words: str) -> None:
        super().__init__(quiet=True)
        self.words = words

    def print(self, *objects: object, **options: object) -> None:
        if any(self.words in str(text) for text in objects):
            raise KeyboardInterrupt
