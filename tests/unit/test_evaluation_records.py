from __future__ import annotations

import gzip

import pytest

from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import read_records, write_records
from tests.unit.evaluation_rows import row, votes

ROWS = [
    row("p1", "A", "A?", 0.25, votes_ab=votes("AB", [0.5, None]), trace_ids=("t1", "t2"), meta={"style": 1}),
    row("p2", "B", "=-", None, judge="bt", order_free=True, category="non-ASCII: \u2028 é"),
]


@pytest.mark.parametrize("name", ["judgments.jsonl", "judgments.jsonl.gz"])
def test_rows_survive_the_file(tmp_path, name):
    path = write_records(tmp_path / name, ROWS)
    assert read_records(path) == ROWS
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_file_is_repeatable(tmp_path):
    first = write_records(tmp_path / "a.jsonl.gz", ROWS).read_bytes()
    second = write_records(tmp_path / "b.jsonl.gz", ROWS).read_bytes()
    assert first == second


def test_a_broken_line_is_named(tmp_path):
    path = write_records(tmp_path / "rows.jsonl.gz", ROWS)
    text = gzip.decompress(path.read_bytes()).decode().replace('"abstained"', '"perhaps"')
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz, line 2: .*perhaps"):
        read_records(path)


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_records(tmp_path / "rows.jsonl", [row("p", "A", "AA", float("nan"))])
