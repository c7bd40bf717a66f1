"""The verdict cache: what it keeps, over restarts and between replicas, and what it must not keep."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from genrm_rl.config.serving import ServingConfig
from genrm_rl.errors import ConfigError
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.types import Message
from genrm_rl.serving.replicas.judge_apps import cache_file
from genrm_rl.serving.replicas.verdict_cache import VerdictCache, cache_key, weights_fingerprint
from tests.unit.judging_cases import comparison, trace


def judgment(p_a: float = 0.9, *, other: Verdict = Verdict.PREFERS_A) -> Judgment:
    second = trace(other, 1 - p_a if other.is_verdict else None, swapped=True)
    return fold([replace(trace(Verdict.PREFERS_A, p_a), text="because \u00e9\u202e"), second])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "new folder" / "verdicts.sqlite")


def test_a_restart_finds_what_was_judged(path: str) -> None:
    kept = judgment()
    before = VerdictCache(10, path)
    assert before.get("k") is None and before.put("k", kept)
    before.close()
    after = VerdictCache(10, path)
    assert after.get("k") == after.get("k") == kept and after.get("other") is None
    after.close()
    assert VerdictCache(10, None).get("k") is None


def test_non_verdicts_are_never_kept(path: str) -> None:
    cache = VerdictCache(10, path)
    for kind in (each for each in Verdict if not each.is_verdict):
        assert not cache.put("k", judgment(other=kind))
        assert cache.get("k") is None
    tie = judgment(0.5, other=Verdict.PREFERS_B)
    assert tie.tie and cache.put("k", tie) and cache.get("k") == tie, "a tie of two verdicts is a result"


def test_memory_holds_the_most_recently_used() -> None:
    cache = VerdictCache(2, None)
    for key in "abac":
        if cache.get(key) is None:
            cache.put(key, judgment())
    assert [cache.get(key) is None for key in "abc"] == [False, True, False]
    none = VerdictCache(0, None)
    assert none.put("a", judgment()) and none.get("a") is None


def test_the_key_is_all_that_the_verdict_depends_on() -> None:
    asked = comparison(a="1", b="2")
    others = [
        comparison(a="1", b="3"),
        comparison(a="2", b="1"),
        asked.swap(),
        comparison(a="1", b="2", prompt="add 1 1"),
        replace(asked, prompt=(Message("system", "be kind"), *asked.prompt)),
    ]
    keys = {cache_key(each, "judge") for each in (asked, *others)} | {cache_key(asked, "other judge")}
    assert len(keys) == 7
    assert cache_key(replace(asked, pair_id="another name"), "judge") == cache_key(asked, "judge")


def test_changed_weights_have_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"12")
    before = weights_fingerprint(tmp_path)
    assert weights_fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"123")
    assert weights_fingerprint(tmp_path) != before


def test_replicas_write_the_same_file_at_once(path: str) -> None:
    VerdictCache(0, path).close()
    with ThreadPoolExecutor(2) as threads:  # each with a connection of its own, as each replica has
        assert len(list(threads.map(_fill, (path, path), "xy"))) == 2
    cache = VerdictCache(0, path)
    assert all(cache.get(f"{name}{number}") == judgment() for name in "xy" for number in range(100))


def _fill(path: str, name: str) -> None:
    cache = VerdictCache(0, path)
    for number in range(100):
        cache.put(f"{name}{number}", judgment())
    cache.close()


def test_a_file_that_fails_is_a_miss_and_not_a_failure(path: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = VerdictCache(0, path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE verdicts")
    assert cache.put("k", judgment()) and cache.get("k") is None
    assert "the verdict cache can't be used just now" in caplog.text


@pytest.mark.parametrize("name", ["not a database", "folder"])
def test_what_is_no_cache_is_refused_before_anything_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "not a database").write_text("a text that is longer than the header of an SQLite file" * 10)
    with pytest.raises(ConfigError, match="can't be used as a verdict cache"):
        cache_file(ServingConfig(cache_path=str(tmp_path / name)))
