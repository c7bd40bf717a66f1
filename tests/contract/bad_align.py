"""What can be wrong with the rewards of an alignment, one function each: references, addresses, judging again."""

from __future__ import annotations

from pathlib import Path

import yaml

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.run_directory import RunDirectory
from tests.contract.bad_input_files import BadInput, write_rows

WORDS = ["align", "--config", "align.yaml"]
LOG_ODDS = ["--reward.rule", "log_odds"]


def write_align(folder: Path, *rows: dict[str, object]) -> None:
    """``align.yaml``: a policy that learns on six questions and on ``rows``."""
    questions = [{"prompt": f"add 1 {number}", "answer": f"{number + 1}"} for number in range(6)]
    write_rows(folder / "questions.jsonl", [*questions, *rows])
    settings = {
        "run": {"root": "runs", "id": "new"},
        "model": {"name": "tiny", "max_context": 128},
        "prompts": {"train": [{"path": "questions.jsonl"}], "test": [{"world": "test", "limit": 4}]},
        "reward": {"url": "http://127.0.0.1:9", "start_deadline": 0.1},
    }
    (folder / "align.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def rule_without_reference_answers(folder: Path) -> BadInput:
    write_align(folder)
    return BadInput([*WORDS, *LOG_ODDS], ("reward.rule log_odds compares",), "set reward.reference to policy")


def reference_column_without_a_name(folder: Path) -> BadInput:
    write_align(folder)
    words = [*WORDS, *LOG_ODDS, "--reward.reference", "column"]
    return BadInput(words, ("prompts.train.0 names no `reference`",), "name it")


def reference_column_of_the_task_world(folder: Path) -> BadInput:
    write_align(folder)
    words = [*WORDS, *LOG_ODDS, "--reward.reference", "column", "--prompts.train", "[{world: train}]"]
    return BadInput(words, ("prompts.train.0 names no `reference`",), "set reward.reference to policy")


def prompt_without_its_reference_answer(folder: Path) -> BadInput:
    write_align(folder, {"prompt": "add 1 9"})
    words = [*WORDS, *LOG_ODDS, "--reward.reference", "column", "--prompts.train.0.reference", "answer"]
    return BadInput(words, ("questions.jsonl:7: the column `answer` is missing",), "`prompts.on_bad_row: skip`")


def verifier_without_known_answers(folder: Path) -> BadInput:
    write_align(folder)
    words = [*WORDS, "--reward.verifier-weight", "0.5"]
    return BadInput(words, ("reward.verifier_weight has nothing to check prompts.train.0",), "name its column")


def judge_that_is_not_there(folder: Path) -> BadInput:
    write_align(folder)
    return BadInput(WORDS, ("no genrm_rl reward service answers at http://127.0.0.1:9",), "check reward.url")


def second_judge_that_is_not_there(folder: Path) -> BadInput:
    write_align(folder)
    words = [*WORDS, "--reward.source", "verifier", "--prompts.train", "[{world: train, limit: 9}]"]
    words += ["--evaluation.second-judge-url", "http://127.0.0.1:9"]
    return BadInput(words, ("no genrm_rl reward service answers at http://127.0.0.1:9",), "check evaluation.second")


def judging_again_where_nothing_was_lost(folder: Path) -> BadInput:
    write_align(folder)
    with RunDirectory(load_config(AlignConfig, folder / "align.yaml")) as run:
        run.claim()
    return BadInput([*WORDS, "--rejudge"], ("no step of run new lost more than 50%",), "leave out --rejudge")


ALIGN_KINDS = (
    rule_without_reference_answers,
    reference_column_without_a_name,
    reference_column_of_the_task_world,
    prompt_without_its_reference_answer,
    verifier_without_known_answers,
    judge_that_is_not_there,
    second_judge_that_is_not_there,
    judging_again_where_nothing_was_lost,
)
