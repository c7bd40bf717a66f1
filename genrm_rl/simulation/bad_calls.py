"""Calls that no service should fall over: too large in every way, and malformed."""

from __future__ import annotations

import json
from collections.abc import Iterator

MIB = 2**20
PAIR = {"prompt": "sort ba", "response_a": "ab", "response_b": "ba"}
GROUP = {"prompt": "sort ba", "responses": ["ab"]}


def many(name: str, entry: object, count: int) -> bytes:
    """A body with ``count`` times the same entry, which is not built as Python objects."""
    return b'{"%s": [' % name.encode() + b", ".join([json.dumps(entry).encode()] * count) + b"]}"


def oversized() -> Iterator[tuple[str, bytes]]:
    """Calls that ask for too much, of all kinds: of responses, groups, comparisons, text, votes, structure, bytes."""
    for count in (1_000, 10_000, 20_000, 100_000, 200_000):
        group = {"prompt": "add 1 2", "responses": [str(number) for number in range(count)]}
        yield "/v1/rewards", json.dumps({"groups": [group]}).encode()
    for count in (600, 5_000, 50_000, 500_000, 5_000_000):
        yield "/v1/rewards", many("groups", GROUP, count)
        yield "/v1/judgments", many("comparisons", PAIR, count)
    for count in (10_000, 60_000, 2 * MIB):
        yield "/v1/judgments", json.dumps({"comparisons": [PAIR | {"response_a": "ab " * count}]}).encode()
    turns = [{"role": "user", "content": "x"}] * 3_000
    yield "/v1/judgments", json.dumps({"comparisons": [PAIR | {"prompt": turns}]}).encode()
    yield "/v1/judgments", json.dumps({"comparisons": [PAIR], "votes": 10**9}).encode()
    for body in (b"[" * MIB, b"[" + b"[]," * (2 * MIB) + b"[]]", many("comparisons", 1, 10_000), b"[1" + b",1" * MIB):
        yield "/v1/judgments", body


def malformed(count: int) -> list[tuple[str, bytes]]:
    """``count`` calls that are no good JSON, or not what the contract takes."""
    pieces = [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"\x00",
        b'{"comparisons": {}}',
        b'{"groups": [1]}',
    ]
    paths = ("/v1/judgments", "/v1/rewards", "/get_reward", "/remote_rm", "/compare", "/verify", "/v1/chat/completions")
    return [(paths[n % len(paths)], pieces[n % len(pieces)]) for n in range(count)]
