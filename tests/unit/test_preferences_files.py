"""Arrays, shards, globs, downloaded folders and Arrow columns of any kind give the rows that are in them."""

from __future__ import annotations

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.sources import DataSplits, load_sources
from genrm_rl.preferences.validation import PairReader


def rows(first: int, count: int) -> list[dict[str, object]]:
    """Rows whose prompts have nothing in common."""
    return [
        {"prompt": f"question {i} {i * 7} {i * 13}", "chosen": f"good {i}", "rejected": f"bad {i}"}
        for i in range(first, first + count)
    ]


def read(folder: Path, path: str, **source: object) -> DataSplits:
    """``path`` below ``folder`` as the only test set."""
    return load_sources(
        DataConfig.model_validate({"root": str(folder), "test": [{"path": path, "name": "set", **source}]}), 0
    )


def answers(folder: Path, path: str, **source: object) -> list[str]:
    """The better answers that were read, in the order of their numbers."""
    return sorted((p.chosen for p in read(folder, path, **source).test["set"]), key=lambda text: int(text[5:]))


def shards(folder: Path, split: str, first: int, count: int, *, of: int = 2) -> None:
    """A split in Parquet files with the hub's names."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(of):
        table = pyarrow.Table.from_pylist(rows(first + shard * count // of, count // of))
        pyarrow.parquet.write_table(table, folder / f"{split}-{shard:05d}-of-{of:05d}.parquet")


GOOD = [f"good {i}" for i in range(4)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".jsonl"])
def test_an_array_is_read_element_by_element(tmp_path: Path, indent: int | None, suffix: str) -> None:
    payload = b"\xef\xbb\xbf" + json.dumps([*rows(0, 4)], indent=indent).encode()
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(payload) if suffix.endswith("gz") else payload)
    assert answers(tmp_path, f"a{suffix}") == GOOD


def test_a_bad_element_is_named_by_its_number_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([*rows(0, 2), {"prompt": "q", "chosen": "a"}], indent=1))
    with pytest.raises(DataError, match=r"a\.json\[3\]:12: the field `rejected` is missing"):
        read(tmp_path, "a.json")
    (tmp_path / "b.json").write_text(json.dumps([*rows(0, 2), 5]))
    with pytest.raises(DataError, match=r"b\.json\[3\]:1: a row must be an object"):
        read(tmp_path, "b.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"prompt": "q"', "breaks off or is broken in element 1, line 1"),
        ('[{"a": 1},\n{"a": }]', "broken in element 2, line 2"),
        ('[{"a": 1}', "breaks off after element 1"),
        ('[{"a": 1} {"a": 2}]', "breaks off after element 1"),
        ('[{"a": 1},\n', "breaks off after element 1"),
        ('{\n"data": [1, 2]\n}', "is one JSON object .with `data`., not rows"),
    ],
)
def test_a_broken_array_stops_whatever_is_to_be_skipped(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    config = {"root": str(tmp_path), "test": [{"path": "a.json"}], "on_bad_row": "skip"}
    with pytest.raises(DataError, match=reason):
        load_sources(DataConfig.model_validate(config), 0)


def test_lines_under_the_name_json_are_still_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n".join(json.dumps(row) for row in rows(0, 4)))
    assert answers(tmp_path, "a.json") == GOOD


def test_shards_are_read_by_glob_folder_and_split(tmp_path: Path) -> None:
    shards(tmp_path / "set" / "data", "train", 0, 4)
    assert answers(tmp_path, "set/data/train-*.parquet") == GOOD
    assert answers(tmp_path, "set") == GOOD, "one split only: no need to name it"
    shards(tmp_path / "set" / "data", "test", 10, 2, of=1)
    assert answers(tmp_path, "set", split="train") == GOOD
    assert answers(tmp_path, "set", split="test") == ["good 10", "good 11"]
    with pytest.raises(DataError, match="several splits; set the source's `split` to one of train, test"):
        read(tmp_path, "set")
    with pytest.raises(DataError, match="without files of the split 'dev'"):
        read(tmp_path, "set", split="dev")


def test_a_downloaded_hub_folder_is_read_as_its_card_says(tmp_path: Path) -> None:
    card = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: data/first-*
  - split: held_out
    path: data/second-*
- config_name: other
  data_files: other/*.parquet
---
# A set
"""
    shards(tmp_path / "data", "first", 0, 4)
    shards(tmp_path / "data", "second", 10, 2, of=1)
    shards(tmp_path / "other", "x", 20, 2, of=1)
    (tmp_path / "README.md").write_text(card)
    assert answers(tmp_path, ".", split="train") == GOOD
    assert answers(tmp_path, ".", split="held_out") == ["good 10", "good 11"]
    assert answers(tmp_path, ".", config_name="other") == ["good 20", "good 21"]
    with pytest.raises(DataError, match="several splits; set the source's `split` to one of train, held_out"):
        read(tmp_path, ".")
    with pytest.raises(DataError, match="has the configurations default, other"):
        read(tmp_path, ".", config_name="third")


def test_columns_that_are_not_used_are_never_converted(tmp_path: Path) -> None:
    far = pyarrow.array([2**60] * 4, pyarrow.timestamp("us"))
    table = pyarrow.Table.from_pylist(rows(0, 4)).append_column("when", far)
    pyarrow.parquet.write_table(table, tmp_path / "far.parquet")
    assert answers(tmp_path, "far.parquet") == GOOD
    with pytest.raises(DataError, match=r"far\.parquet:1: `when` can't be read"):
        read(tmp_path, "far.parquet", columns={"prompt": "when"})
    config = {"root": str(tmp_path), "test": [{"path": "far.parquet", "columns": {"rejected": "none"}}]}
    with pytest.raises(DataError, match="No pair is left .*4 missing_field"):
        load_sources(DataConfig.model_validate(config | {"on_bad_row": "skip"}), 0, rejects_path=tmp_path / "r.jsonl")
    assert (
        "good 0" in (tmp_path / "r.jsonl").read_text()
        and "when" not in json.loads((tmp_path / "r.jsonl").read_text().splitlines()[0])["row"]
    )


def test_large_nested_and_dictionary_columns_are_read(tmp_path: Path) -> None:
    """One row group of 40 MB of ``list<struct<role, content>>``, large strings, dictionaries, decimals."""
    filler = "long text " * 500
    turns = [[{"role": "user", "content": f"question {i} {i * 7} {filler}"}] for i in range(8000)]
    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.large_string())])
    table = pyarrow.table(
        {
            "prompt": pyarrow.array(turns, pyarrow.list_(turn)),
            "chosen": pyarrow.array([f"good {i}" for i in range(8000)], pyarrow.large_string()),
            "rejected": pyarrow.array(["bad"] * 8000).dictionary_encode(),
            "score_chosen": pyarrow.array([Decimal("2.50")] * 8000),
            "score_rejected": pyarrow.array(["1.5"] * 8000),
            "day": pyarrow.array([datetime.date(2026, 1, 1)] * 8000),
        }
    )
    assert table.nbytes > 40e6
    pyarrow.parquet.write_table(table, tmp_path / "big.parquet", row_group_size=8000)
    source = SourceConfig(path="big.parquet")
    reader = PairReader(source)
    pairs = [pair for row in read_rows(source, tmp_path) for pair in reader.pairs(row)]
    assert len(pairs) == 8000 and {pair.rejected for pair in pairs} == {"bad"}
