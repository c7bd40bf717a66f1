"""Questions for a policy: checked like preference pairs, told with file and line, or left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrm_rl.alignment.prompts import PromptSets, load_prompts
from genrm_rl.config.prompts import PromptsConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer
from genrm_rl.models.resolve import TINY
from genrm_rl.preferences.types import Message

CHAT = ChatEncoder(load_tokenizer(TINY))
GOOD = [{"prompt": f"add {number} {number + 7}"} for number in range(10, 16)]
USER = {"role": "user", "content": "add 1 2"}


def load(tmp_path: Path, rows: list[Any], **prompts: Any) -> PromptSets:
    """``rows`` to learn on, two other questions held out."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "test.jsonl").write_text('{"prompt": "add 30 37"}\n{"prompt": "add 31 38"}\n', encoding="utf-8")
    settings = {"root": str(tmp_path), "train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl"}]}
    return load_prompts(PromptsConfig.model_validate(settings | prompts), CHAT, room=96, seed=0)


BAD = {
    "null content": ([USER, {"role": "assistant", "content": None, "tool_calls": []}, USER], "content of turn 2 of"),
    "empty content": ([{"role": "user", "content": ""}], "the prompt is empty"),
    "zero-width content": ([{"role": "user", "content": "\u200b"}], "the prompt is empty"),
    "half a surrogate pair": ("add \ud83d 1", "half a surrogate pair"),
    "unknown characters": ("مرحبا 漢字", "characters that the model's tokenizer does not know"),
    "an image": ([{"role": "user", "content": [{"type": "image_url"}]}], "has a part that is image_url"),
    "a call without a name": ([USER, {"role": "assistant", "tool_calls": [{}], "content": None}], "without a func"),
    "an answer at the end": ([USER, {"role": "assistant", "content": "3"}], "must end with a user turn"),
    "no column": (None, "the column `prompt` is missing (found `question`)"),
    "a number": (3, "`prompt` is a number"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_prompt_is_told_with_file_and_line_and_can_be_left_out(tmp_path: Path, kind: str) -> None:
    value, reason = BAD[kind]
    rows = [*GOOD, {"question": "x"} if value is None else {"prompt": value}]
    with pytest.raises(DataError) as caught:
        load(tmp_path, rows)
    assert str(caught.value).startswith(f"{tmp_path}/train.jsonl:7: ") and reason in str(caught.value)
    assert "`prompts.on_bad_row: skip`" in str(caught.value)
    sets = load(tmp_path, rows, on_bad_row="skip")
    assert len(sets.train) == 6 and sum(sets.sources[1].left_out.values()) == 1 and "1 " in sets.describe()


def test_one_long_prompt_stops_the_job_or_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*GOOD, {"prompt": "add " + "1 " * 400}]
    with pytest.raises(
        DataError, match=r"train\.jsonl:7: the prompt has \d+ tokens and 96 fit .*prompts\.on_long: skip"
    ):
        load(tmp_path, rows, on_bad_row="skip")
    sets = load(tmp_path, rows, on_long="skip")
    assert len(sets.train) == 6 and "1 too long left out" in sets.describe()
    assert sets.as_dict()["sources"][1]["left_out"] == {"too_long": 1}


def test_parts_tools_developers_and_json_text_are_read_and_counted(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "developer", "content": "be kind"},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3"},
        {"role": "user", "content": [{"type": "text", "text": "add 1 "}, {"type": "text", "text": "2"}]},
    ]
    rows = [*GOOD, {"prompt": turns[:2]}, {"prompt": [turns[4]]}, {"prompt": json.dumps([USER])}]
    sets = load(tmp_path, rows)
    assert sets.train[6].messages == (Message("system", "be kind"), Message("user", "add 1 2"))
    assert len(sets.train) == 8 and sets.sources[1].repeated == 1, "parts and JSON text are the same question"
    for phrase in ("1 developer turns read", "1 contents joined from text parts", "1 messages read from JSON text"):
        assert phrase in sets.describe()
    from genrm_rl.preferences.turns import Notes, read_prompt

    read = read_prompt(turns, "prompt", Notes())
    assert [turn.role for turn in read] == ["system", "user", "assistant", "user", "user"]
    assert read[2].content == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert read[3].content == "<tool_response>\n3\n</tool_response>"


def test_a_split_of_one_data_set_keeps_train_and_test_apart(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for split, rows in (("train_prefs", GOOD), ("test_prefs", [{"prompt": "add 90 91"}])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sources = {side: [{"path": "set", "split": f"{side}_prefs"}] for side in ("train", "test")}
    sets = load(tmp_path, GOOD, **sources)
    assert len(sets.train) == 6 and [len(found) for found in sets.test.values()] == [1]
    same = [{"path": "set", "split": "train_prefs"}]
    with pytest.raises(DataError, match="train is empty .6 were copies of held-out prompts"):
        load(tmp_path, GOOD, train=same, test=same)


def test_a_limit_counts_prompts_that_are_kept(tmp_path: Path) -> None:
    sets = load(tmp_path, [{"prompt": ""}, *GOOD], on_bad_row="skip", train=[{"path": "train.jsonl", "limit": 3}])
    assert [prompt.messages[0].content for prompt in sets.train] == [row["prompt"] for row in GOOD[:3]]


def test_reference_answers_are_read_beside_the_prompts(tmp_path: Path) -> None:
    chosen = [USER, {"role": "assistant", "content": "17"}]
    rows = [GOOD[0] | {"best": "10"}, GOOD[1] | {"best": chosen}, GOOD[2] | {"best": [chosen[1]]}]
    train = [{"path": "train.jsonl", "reference": "best"}]
    assert [prompt.reference for prompt in load(tmp_path, rows, train=train).train] == ["10", "17", "17"]
    assert {prompt.reference for prompt in load(tmp_path, rows).train} == {None}


@pytest.mark.parametrize("value", [" ", None, 3, [USER]])
def test_a_bad_reference_answer_is_told_with_file_and_line(tmp_path: Path, value: Any) -> None:
    rows = [GOOD[0] | {"best": "10"}, GOOD[1] | {"best": value}]
    with pytest.raises(DataError, match=r"train.jsonl:2: .*`best`"):
        load(tmp_path, rows, train=[{"path": "train.jsonl", "reference": "best"}])
