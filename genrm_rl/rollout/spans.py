"""Which weights sampled which tokens of a running request; vLLM 0.29 does not say."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, str]  # index of the first token, version of the weights


class VersionSpans:
    """Of all running requests of an engine, by their names."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = {}

    def begin(self, name: str, version: str) -> None:
        """A request is handed to the engine."""
        self._spans[name] = [(0, version)]

    def swap(self, tokens: Iterable[tuple[str, int]], version: str) -> None:
        """The engine got other weights when these requests had so many tokens. Unknown names are left out."""
        for name, first in tokens:
            spans = self._spans.get(name)
            if spans is not None:
                if spans[-1][0] == first:  # the last weights have sampled nothing of it
                    spans.pop()
                spans.append((first, version))

    def of(self, name: str, tokens: int) -> tuple[str, tuple[Span, ...]]:
        """Version of the first token of a request that ended with ``tokens``, and the later spans."""
        (_, version), *later = self._spans[name]
        return version, tuple(span for span in later if span[0] < tokens)

    def end(self, name: str) -> None:
        """A request is over."""
        del self._spans[name]
