"""Bad preference data, one function each; each spoils a folder's good input and says what the sentence must hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import yaml

from tests.contract.bad_input_files import (
    BadInput,
    bootstrap,
    good_rows,
    spoil_row,
    write_rows,
    write_settings,
)

SKIP = "--data.on-bad-row skip"


def _row(names: tuple[str, ...]) -> BadInput:
    return BadInput(bootstrap(), ("train.jsonl:3: ", *names), SKIP)


def missing_data_file(folder: Path) -> BadInput:
    write_settings(folder, data={"train": [{"path": "trian.jsonl"}]})
    return BadInput(bootstrap(), ("trian.jsonl does not exist",), "that folder has")


def missing_data_folder(folder: Path) -> BadInput:
    words = bootstrap("--data.root", "pairs")
    return BadInput(words, ("pairs/train.jsonl does not exist", "no folder pairs"), "`data.root`")


def data_in_another_format(folder: Path) -> BadInput:
    (folder / "train.csv").write_text("prompt,chosen,rejected\n", encoding="utf-8")
    write_settings(folder, data={"train": [{"path": "train.csv"}]})
    return BadInput(bootstrap(), ("train.csv", "neither JSON", "nor Parquet"), "rename it to what it is")


def row_that_is_not_json(folder: Path) -> BadInput:
    spoil_row(folder, b'{"prompt": "add 1 2", "chosen": "3"')
    return _row(("not valid JSON", "column 36"))


def row_that_is_not_an_object(folder: Path) -> BadInput:
    spoil_row(folder, b'["add 1 2", "3", "4"]')
    return _row(("must be an object", "a list"))


def missing_field(folder: Path) -> BadInput:
    spoil_row(folder, {"winner": "3"}, drop="chosen")
    return _row(("`chosen` is missing", "found `prompt`, `rejected`, `winner`"))


def field_of_the_wrong_type(folder: Path) -> BadInput:
    spoil_row(folder, {"rejected": 4})
    return _row(("`rejected` is a number", "must be a string"))


def empty_answer(folder: Path) -> BadInput:
    spoil_row(folder, {"chosen": " \n"})
    return _row(("`chosen` is an empty answer",))


def equal_answers(folder: Path) -> BadInput:
    spoil_row(folder, {"chosen": "3", "rejected": "3 "})
    return _row(("`chosen` and `rejected` are the same answer",))


def scores_in_the_wrong_order(folder: Path) -> BadInput:
    spoil_row(folder, {"score_chosen": 1.0, "score_rejected": 2.0})
    return _row(("`score_chosen` 1.0 is below `score_rejected` 2.0",))


def row_not_in_utf8(folder: Path) -> BadInput:
    spoil_row(folder, b'{"prompt": "add 1 2", "chosen": "3", "rejected": "\xff"}')
    return _row(("not UTF-8", "byte 51: 0xff"))


def unknown_role(folder: Path) -> BadInput:
    spoil_row(folder, {"prompt": [{"role": "oracle", "content": "add 1 2"}]})
    return _row(("turn 1 of `prompt`", "'oracle'", "use system, user, assistant"))


def prompt_that_ends_with_an_answer(folder: Path) -> BadInput:
    turns = [{"role": "user", "content": "add 1 2"}, {"role": "assistant", "content": "3"}]
    spoil_row(folder, {"prompt": turns})
    return _row(("must end with a user turn",))


def prompt_longer_than_the_context(folder: Path) -> BadInput:
    spoil_row(folder, {"prompt": "add " + "1 " * 400})
    return _row(("tokens", "the context has 320"))


def characters_that_the_tokenizer_does_not_know(folder: Path) -> BadInput:
    spoil_row(folder, {"prompt": "add 1 2 \N{SNOWMAN}"})
    return _row(("characters that the model's tokenizer does not know",))


def labels_that_contradict_each_other(folder: Path) -> BadInput:
    first = good_rows()[0]
    turned = first | {"chosen": first["rejected"], "rejected": first["chosen"]}
    spoil_row(folder, turned)
    return _row(("labelled the other way", "train.jsonl:1"))


def many_bad_rows(folder: Path) -> BadInput:
    write_rows(folder / "train.jsonl", [*good_rows(2), *[b"{}"] * 5])
    return _row(("`prompt` is missing", "4 more bad rows follow"))


def json_array_that_breaks_off(folder: Path) -> BadInput:
    text = json.dumps(good_rows(), indent=2)
    (folder / "train.json").write_text(text[: text.index('"chosen": "3"')], encoding="utf-8")
    write_settings(folder, data={"train": [{"path": "train.json"}]})
    return BadInput(bootstrap(), ("train.json is a JSON array", "element 4, line 19"), "mend it")


def label_that_nobody_knows(folder: Path) -> BadInput:
    return _labelled(folder, "alpha", ("train.jsonl:1: `label` is 'alpha', which is no known label",), "use A, B, A>B")


def label_numbers_that_may_mean_two_things(folder: Path) -> BadInput:
    return _labelled(folder, 1, ("train.jsonl:1: `label` is 1, which may mean the first or the second",), "`first_is`")


def _labelled(folder: Path, label: object, names: tuple[str, ...], way_out: str) -> BadInput:
    row = {"prompt": "add 1 2", "response_a": "3", "response_b": "4", "label": label}
    write_rows(folder / "train.jsonl", [row])
    return BadInput(bootstrap(), names, way_out)


def columns_that_fit_two_layouts(folder: Path) -> BadInput:
    row = {"prompt": "add 1 2", "response_a": "3", "response_b": "4", "label": "A", "chosen": "3", "rejected": "4"}
    write_rows(folder / "train.jsonl", [row])
    return BadInput(
        bootstrap(), ("train.jsonl:1: its columns fit the layouts pair, labelled",), "the source's `layout`"
    )


def folder_with_several_splits(folder: Path) -> BadInput:
    for split in ("train", "test"):
        write_rows(folder / f"{split}-00000-of-00001.jsonl", good_rows())
    for name in ("train.jsonl", "test.jsonl"):
        (folder / name).unlink()
    write_settings(folder, data={"train": [{"path": "."}]})
    return BadInput(bootstrap(), ("has several splits",), "`split` to one of train, test")


def glob_without_a_file(folder: Path) -> BadInput:
    write_settings(folder, data={"train": [{"path": "train-*.parquet"}]})
    return BadInput(bootstrap(), ("train-*.parquet matches no file",), "check its `path` and `data.root`")


def truncated_gzip(folder: Path) -> BadInput:
    plain = write_rows(folder / "plain", good_rows(2000)).read_bytes()
    whole = gzip.compress(plain)
    (folder / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    write_settings(folder, data={"train": [{"path": "train.jsonl.gz"}]})
    return BadInput(bootstrap(), ("train.jsonl.gz is cut off", "after line"), "copy or download it again")


def broken_parquet(folder: Path) -> BadInput:
    (folder / "train.parquet").write_bytes(b"PAR1 and then nothing")
    write_settings(folder, data={"train": [{"path": "train.parquet"}]})
    return BadInput(bootstrap(), ("train.parquet is not a readable Parquet file",), "write or download it again")


def empty_file(folder: Path) -> BadInput:
    (folder / "train.jsonl").write_bytes(b"\n")
    return BadInput(bootstrap(), ("No pair is left for train",), "give it more data")


def every_row_bad_with_skip(folder: Path) -> BadInput:
    write_rows(folder / "train.jsonl", [row | {"chosen": ""} for row in good_rows()])
    words = bootstrap("--data.on-bad-row", "skip")
    return BadInput(words, ("No pair is left for train", "refused: 8 empty", "rejects.jsonl"), "give it more data")


def training_prompts_that_are_all_in_the_test(folder: Path) -> BadInput:
    write_rows(folder / "test.jsonl", good_rows())
    return BadInput(bootstrap(), ("No pair is left for train", "8 were copies of held-out prompts"), "more data")


def dataset_of_a_hub_that_is_offline(folder: Path) -> BadInput:
    write_settings(folder, data={"train": [{"path": "nobody/nothing", "split": "train"}]})
    return BadInput(bootstrap(), ("nobody/nothing is neither a file or folder here",), "connect to the hub once")


def pairs_without_what_the_scoring_rule_needs(folder: Path) -> BadInput:
    words = bootstrap("--evaluation.scoring", "rm_bench")
    return BadInput(words, ("the RM-Bench rule needs `chosen_style` as 0, 1 or 2",), "evaluation.scoring=pairs")


def part_that_is_no_text(folder: Path) -> BadInput:
    spoil_row(folder, {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})
    return _row(("turn 1 of `prompt` has a part that is image_url",))


def _align(folder: Path, prompt: object) -> list[str]:
    write_rows(
        folder / "questions.jsonl", [{"prompt": f"add 1 {number}"} for number in range(6)] + [{"prompt": prompt}]
    )
    settings = {
        "run": {"root": "runs", "id": "new"},
        "model": {"name": "tiny", "max_context": 128},
        "prompts": {"train": [{"path": "questions.jsonl"}], "test": [{"world": "test", "limit": 4}]},
        "sampling": {"max_tokens": 32},
        "reward": {"url": "http://127.0.0.1:9"},
    }
    (folder / "align.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return ["align", "--config", "align.yaml"]


def policy_prompt_without_text(folder: Path) -> BadInput:
    call = {"role": "assistant", "content": None, "tool_calls": []}
    words = _align(folder, [{"role": "user", "content": "add 1 2"}, call, {"role": "user", "content": "add 1 2"}])
    return BadInput(words, ("questions.jsonl:7: the content of turn 2", "null"), "`prompts.on_bad_row: skip`")


def policy_prompt_longer_than_the_context(folder: Path) -> BadInput:
    words = _align(folder, "add " + "1 " * 200)
    return BadInput(words, ("questions.jsonl:7: the prompt has", "96 fit"), "`prompts.on_long: skip`")


def policy_prompts_that_are_all_held_out(folder: Path) -> BadInput:
    words = _align(folder, "add 1 2")
    words += ["--prompts.test", "[{path: questions.jsonl, name: held_out}]"]
    return BadInput(words, ("the prompt set train is empty", "6 were copies"), "check prompts.train and prompts.test")


def conversations_without_a_shared_prefix(folder: Path) -> BadInput:
    row = {
        "chosen": "\n\nHuman: add 1 2\n\nAssistant: 3",
        "rejected": "\n\nHuman: add 1 3\n\nAssistant: 3",
    }
    write_rows(folder / "train.jsonl", [row])
    write_settings(folder, data={"train": [{"path": "train.jsonl", "layout": "shared_prefix"}]})
    return BadInput(bootstrap(), ("train.jsonl:1: ", "differ from turn 1"), SKIP)


def rubric_that_decides_nothing(folder: Path) -> BadInput:
    rows = [row | {"rubric": "be right"} for row in good_rows()]
    rows[2]["rubric"] = [{"description": "Is it right?", "choices": ["yes"]}]
    write_rows(folder / "train.jsonl", rows)
    write_settings(folder, data={"train": [{"path": "train.jsonl", "columns": {"rubric": "rubric"}}]})
    return _row(("`rubric`: criterion 1", "a criterion with one choice decides nothing"))


DATA_KINDS = (
    missing_data_file,
    missing_data_folder,
    data_in_another_format,
    row_that_is_not_json,
    row_that_is_not_an_object,
    missing_field,
    field_of_the_wrong_type,
    empty_answer,
    equal_answers,
    scores_in_the_wrong_order,
    row_not_in_utf8,
    unknown_role,
    prompt_that_ends_with_an_answer,
    prompt_longer_than_the_context,
    characters_that_the_tokenizer_does_not_know,
    labels_that_contradict_each_other,
    many_bad_rows,
    json_array_that_breaks_off,
    label_that_nobody_knows,
    label_numbers_that_may_mean_two_things,
    columns_that_fit_two_layouts,
    folder_with_several_splits,
    glob_without_a_file,
    truncated_gzip,
    broken_parquet,
    empty_file,
    every_row_bad_with_skip,
    training_prompts_that_are_all_in_the_test,
    dataset_of_a_hub_that_is_offline,
    pairs_without_what_the_scoring_rule_needs,
    part_that_is_no_text,
    policy_prompt_without_text,
    policy_prompt_longer_than_the_context,
    policy_prompts_that_are_all_held_out,
    conversations_without_a_shared_prefix,
    rubric_that_decides_nothing,
)
