"""Reading preference data: every layout, and every kind of bad row named with file, line and reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from genrm_rl.config.data import DataConfig
from genrm_rl.errors import ConfigError, DataError
from genrm_rl.preferences.sources import DataSplits, load_source, load_sources
from genrm_rl.preferences.types import Message

GOOD = {"prompt": "q", "chosen": "good", "rejected": "bad"}


def rows(count: int = 12) -> list[dict[str, object]]:
    """Rows whose prompts have nothing in common."""
    return [
        {"prompt": f"question {i} {i * 7} {i * 13}", "chosen": f"good {i}", "rejected": f"bad {i}"}
        for i in range(count)
    ]


def write_jsonl(path: Path, entries: list[object]) -> Path:
    """One JSON value (or raw bytes) a line."""
    lines = [entry if isinstance(entry, bytes) else json.dumps(entry).encode() for entry in entries]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def read_one(path: Path, **source: object) -> DataSplits:
    """Load ``path`` as the only test set."""
    entry = {"path": path.name, "name": "set", **source}
    return load_sources(DataConfig.model_validate({"root": str(path.parent), "test": [entry]}), 0)


@pytest.mark.parametrize("layout", ["jsonl", "jsonl.gz", "parquet", "saved", "saved_dict", "folder"])
def test_all_containers_give_the_same_pairs(tmp_path: Path, layout: str) -> None:
    plain = read_one(write_jsonl(tmp_path / "plain.jsonl", rows())).test["set"]
    source: dict[str, object] = {}
    path = tmp_path / f"data.{layout}"
    if layout == "jsonl":
        write_jsonl(path, rows())
    elif layout == "jsonl.gz":
        path.write_bytes(gzip.compress(write_jsonl(tmp_path / "x", rows()).read_bytes()))
    elif layout == "folder":
        path.mkdir()
        write_jsonl(path / "train.jsonl", rows())
        source["split"] = "train"
    else:
        from datasets import Dataset, DatasetDict

        dataset = Dataset.from_list(rows())
        if layout == "parquet":
            dataset.to_parquet(str(path))
        elif layout == "saved":
            dataset.save_to_disk(str(path))
        else:
            DatasetDict({"train": dataset, "other": dataset.select([0])}).save_to_disk(str(path))
            source["split"] = "train"
    pairs = read_one(path, **source).test["set"]
    assert pairs == plain and len(pairs) == 12
    assert sorted(pair.meta["line"] for pair in pairs) == list(range(1, 13))
    assert all(str(pair.meta["file"]).startswith(str(path)) for pair in pairs)


def test_columns_categories_and_label_sources_are_mapped(tmp_path: Path) -> None:
    entry = {"q": "hi", "win": "a", "lose": "b", "kind": 3, "by": "verified", "id": "x-1"}
    columns = {"prompt": "q", "chosen": "win", "rejected": "lose", "category": "kind", "label_source": "by"}
    (pair,) = read_one(write_jsonl(tmp_path / "m.jsonl", [entry]), columns=columns).test["set"]
    assert (pair.chosen, pair.rejected, pair.category, pair.label_source, pair.source) == (
        "a",
        "b",
        "3",
        "verified",
        "set",
    )
    assert pair.meta["row_id"] == "x-1"


def test_what_scoring_rules_ask_for_survives_from_columns_and_from_meta(tmp_path: Path) -> None:
    styles = {"chosen_style": 0, "rejected_style": 2, "item": "q1", "length": 7}
    flat, nested = GOOD | styles, GOOD | {"meta": styles | {"subset": ["no", "scalar"]}}
    for row in (flat, nested):
        meta = read_one(write_jsonl(tmp_path / "styled.jsonl", [row])).test["set"][0].meta
        assert {key: meta[key] for key in meta if key not in ("file", "line")} == {
            "chosen_style": 0, "rejected_style": 2, "item": "q1",
        }  # fmt: skip


def test_message_prompts_keep_their_turns(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    entry = GOOD | {"prompt": turns, "chosen": [{"role": "assistant", "content": "good"}]}
    (pair,) = read_one(write_jsonl(tmp_path / "m.jsonl", [entry])).test["set"]
    assert pair.prompt == (Message("system", "s"), Message("user", "u")) and pair.chosen == "good"


def test_answers_of_hh_text_keep_their_indentation(tmp_path: Path) -> None:
    start = "\n\nHuman: write a loop\n\nAssistant:"
    row = {"chosen": f"{start}\n    for x in y:\n        f(x)\n", "rejected": f"{start}\nfor x in y:\n    f(x)"}
    (pair,) = read_one(write_jsonl(tmp_path / "hh.jsonl", [row]), layout="shared_prefix").test["set"]
    assert (pair.chosen, pair.rejected) == ("    for x in y:\n        f(x)", "for x in y:\n    f(x)")


def test_system_turns_may_come_later(tmp_path: Path) -> None:
    turns = [{"role": role, "content": "q"} for role in ("user", "system", "user")]
    (pair,) = read_one(write_jsonl(tmp_path / "m.jsonl", [GOOD | {"prompt": turns}])).test["set"]
    assert [turn.role for turn in pair.prompt] == ["user", "system", "user"]


def test_shared_prefix_reads_hh_text_and_ultrafeedback_messages(tmp_path: Path) -> None:
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: name a fruit\n\nAssistant:"
    hh = {"chosen": f"{start} an apple", "rejected": f"{start} a brick\n\nnot a fruit"}
    (pair,) = read_one(write_jsonl(tmp_path / "hh.jsonl", [hh]), layout="shared_prefix").test["set"]
    assert [turn.role for turn in pair.prompt] == ["user", "assistant", "user"]
    assert (pair.prompt[-1].content, pair.chosen, pair.rejected) == (
        "name a fruit",
        "an apple",
        "a brick\n\nnot a fruit",
    )
    first = {"role": "user", "content": "name a fruit"}
    chats = {side: [first, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    entry = {"prompt": "name a fruit", "score_chosen": 8.0, "score_rejected": 3.5, **chats}
    (pair,) = read_one(write_jsonl(tmp_path / "uf.jsonl", [entry]), layout="shared_prefix").test["set"]
    assert (pair.prompt, pair.chosen, pair.rejected) == ((Message("user", "name a fruit"),), "chosen", "rejected")


BAD_ROWS = {
    "wrong JSON": (b'{"prompt": "q", ', "not valid JSON"),
    "empty JSON number": (b'{"prompt": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "not an object": (b"[1, 2]", "must be an object with named fields, not a list"),
    "not UTF-8": (b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}', "not UTF-8 (byte 16: 0xe9)"),
    "half a surrogate": (b'{"prompt": "q", "chosen": "\\ud800", "rejected": "b"}', "surrogate"),
    "missing field": ({"prompt": "q", "chosen": "a"}, "field `rejected` is missing (found `prompt`, `chosen`)"),
    "zero-width answer": (GOOD | {"rejected": "\u200b\u2060 \ufeff"}, "`rejected` is an empty answer"),
    "null answer": (GOOD | {"chosen": None}, "`chosen` is null"),
    "number as answer": (GOOD | {"rejected": 3}, "`rejected` is a number; it must be a string"),
    "empty answer": (GOOD | {"rejected": " \n"}, "`rejected` is an empty answer"),
    "equal answers": (GOOD | {"rejected": "good "}, "are the same answer"),
    "empty prompt": (GOOD | {"prompt": " "}, "the prompt is empty"),
    "prompt without turns": (GOOD | {"prompt": []}, "the prompt has no turns"),
    "prompt of a wrong type": (GOOD | {"prompt": {"role": "user"}}, "`prompt` is an object"),
    "unknown role": (GOOD | {"prompt": [{"role": "human", "content": "q"}]}, "has the role 'human'"),
    "role of a wrong type": (GOOD | {"prompt": [{"role": ["user"], "content": "q"}]}, "has the role ['user']"),
    "content of a wrong type": (GOOD | {"prompt": [{"role": "user", "content": 3}]}, "turn 1 of `prompt` is a number"),
    "turn without content": (GOOD | {"prompt": ["q"]}, "turn 1 of `prompt` is not an object"),
    "prompt ends with the assistant": (
        GOOD | {"prompt": [{"role": "assistant", "content": "q"}]},
        "must end with a user",
    ),
    "conversation as answer": (
        GOOD | {"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        "use `layout: shared_prefix`",
    ),
    "scores against the label": (GOOD | {"score_chosen": 1, "score_rejected": 4}, "`score_chosen` 1 is below"),
    "score that is no number": (GOOD | {"score_chosen": "high", "score_rejected": 4}, "'high', not a finite number"),
    "unknown label source": (GOOD | {"label_source": "cat"}, "`label_source` is 'cat'"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_row_is_named_with_file_line_reason_and_way_out(tmp_path: Path, kind: str) -> None:
    bad, reason = BAD_ROWS[kind]
    path = write_jsonl(tmp_path / "data.jsonl", [rows()[0], bad, rows()[1]])
    with pytest.raises(DataError) as caught:
        read_one(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ") and reason in message and "--data.on-bad-row skip" in message
    assert "\n" not in message


def test_skip_puts_bad_rows_aside_with_reasons_and_counts(tmp_path: Path) -> None:
    entries = [row for bad, _ in BAD_ROWS.values() for row in (bad,)]
    path = write_jsonl(tmp_path / "data.jsonl", [*entries, *rows()])
    config = DataConfig.model_validate({"root": str(tmp_path), "test": [{"path": path.name}], "on_bad_row": "skip"})
    splits = load_sources(config, 0, rejects_path=tmp_path / "rejects.jsonl")
    assert len(splits.test["data"]) == 12
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text("utf-8").splitlines()]
    assert [reject["line"] for reject in rejects] == list(range(1, len(BAD_ROWS) + 1))
    for reject, (_, reason) in zip(rejects, BAD_ROWS.values(), strict=True):
        assert reject["file"] == str(path) and reason in reject["reason"] and reject["row"]
    assert sum(splits.report.refused.values()) == len(BAD_ROWS) == sum(splits.report.sources[0].refused.values())
    assert splits.report.as_dict()["rejects_file"] == str(tmp_path / "rejects.jsonl")


TIES = {
    "flag": GOOD | {"tie": True},
    "label": GOOD | {"label": "tie"},
    "scores": GOOD | {"score_chosen": 4, "score_rejected": "4.0"},
}


def test_ties_are_put_aside_and_counted_and_stop_nothing(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [*TIES.values(), *rows()])
    config = DataConfig.model_validate({"root": str(tmp_path), "test": [{"path": path.name}]})
    splits = load_sources(config, 0, rejects_path=tmp_path / "rejects.jsonl")
    assert len(splits.test["data"]) == 12 and splits.report.refused == {"tie": 3}
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "rejects.jsonl").read_text("utf-8").splitlines()]
    assert kinds == ["tie"] * 3


def test_one_error_tells_how_many_more_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.jsonl:1: .*; 2 more bad rows follow;"):
        read_one(write_jsonl(tmp_path / "data.jsonl", [{}, {}, *rows(), []]))
    with pytest.raises(DataError, match="; at least 9 more bad rows follow"):
        read_one(write_jsonl(tmp_path / "data.jsonl", [{}] * 50))


def test_contradiction_is_refused_on_both_sides_and_a_repetition_counted(tmp_path: Path) -> None:
    other = rows()[1]
    turned = GOOD | {"chosen": "bad", "rejected": "good"}
    path = write_jsonl(tmp_path / "data.jsonl", [GOOD, other, other, turned])
    with pytest.raises(DataError, match=r"data.jsonl:4: .*labelled the other way at .*data.jsonl:1"):
        read_one(path)
    config = DataConfig.model_validate({"root": str(tmp_path), "test": [{"path": path.name}], "on_bad_row": "skip"})
    splits = load_sources(config, 0)
    assert [pair.chosen for pair in splits.test["data"]] == ["good 1"]
    assert (splits.report.sources[0].duplicates, splits.report.refused) == (1, {"contradiction": 2})


def test_whole_files_that_cannot_be_read_always_stop(tmp_path: Path) -> None:
    import random

    noise = [{"prompt": str(i), "chosen": random.Random(i).randbytes(40).hex(), "rejected": "b"} for i in range(500)]
    whole = gzip.compress(write_jsonl(tmp_path / "x", noise).read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "fake.jsonl.gz").write_bytes(b"not gzip at all")
    (tmp_path / "fake.parquet").write_bytes(b"not parquet")
    (tmp_path / "data.csv").write_text("a,b\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.jsonl").write_text("\n\n")
    for path, reason in {
        "cut.jsonl.gz": r"is cut off or is no valid gzip file after line \d\d+",
        "fake.jsonl.gz": "no valid gzip file after line 0",
        "fake.parquet": "not a readable Parquet file",
        "data.csv": "neither JSON .*nor Parquet",
        "empty": "a folder without data files of one kind",
        "absent.jsonl": "absent.jsonl does not exist",
        "a/b/c/absent": "does not exist",
        "nothing.jsonl": "No pair is left for test/",
    }.items():
        config = {"root": str(tmp_path), "test": [{"path": path, "name": "t"}], "on_bad_row": "skip"}
        with pytest.raises(DataError, match=reason) as caught:
            load_sources(DataConfig.model_validate(config), 0)
        assert "\n" not in str(caught.value)


def test_absent_dataset_offline_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for split in (None, "train"):
        config = {"root": str(tmp_path), "test": [{"path": "nobody/nothing", "split": split}]}
        with pytest.raises(
            DataError, match="neither a file or folder here .* nor a dataset that can be reached"
        ) as caught:
            load_sources(DataConfig.model_validate(config), 0)
        assert "\n" not in str(caught.value)


def test_saved_dataset_needs_the_right_split(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    DatasetDict({"a": Dataset.from_list(rows()), "b": Dataset.from_list(rows())}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(DataError, match="several splits; set the source's `split` to one of a, b"):
        read_one(tmp_path / "d")
    with pytest.raises(DataError, match="no split `c`.*one of a, b"):
        read_one(tmp_path / "d", split="c")


def test_rows_that_do_not_fit_are_handled_like_bad_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", rows())

    def misfit(pair):
        return "it needs 600 tokens and the context has 512" if pair.chosen == "good 3" else None

    config = {"root": str(tmp_path), "test": [{"path": path.name}]}
    with pytest.raises(DataError, match="data.jsonl:4: it needs 600 tokens"):
        load_sources(DataConfig.model_validate(config), 0, misfit=misfit)
    splits = load_sources(DataConfig.model_validate(config | {"on_bad_row": "skip"}), 0, misfit=misfit)
    assert len(splits.test["data"]) == 11 and splits.report.refused == {"does_not_fit": 1}
    source = DataConfig.model_validate(config).test[0]
    with pytest.raises(DataError, match="data.jsonl:4"):
        load_source(source, DataConfig.model_validate(config), 0, misfit=misfit)
    assert len(load_source(source, DataConfig.model_validate(config), 0)[0]) == 12


def test_world_needs_a_limit_and_test_sets_need_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="endless"):
        load_sources(DataConfig.model_validate({"train": [{"world": "train"}]}), 0)
    path = write_jsonl(tmp_path / "data.jsonl", rows())
    twice = {"root": str(tmp_path), "test": [{"path": path.name}, {"path": path.name}]}
    with pytest.raises(ConfigError, match="2 sets called `data`"):
        load_sources(DataConfig.model_validate(twice), 0)
