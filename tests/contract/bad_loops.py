"""What can be wrong with a closed loop, one function each: its settings, and the file that a person fills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.closed_loop.label_file import write_label_file
from genrm_rl.closed_loop.people import LABEL_FILE
from genrm_rl.closed_loop.preferences import COMPARISONS
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.run_directory import RunDirectory
from tests.contract.bad_input_files import SETTINGS, BadInput

WORDS = ["loop", "--config", "loop.yaml"]


def write_loop(folder: Path) -> None:
    """``loop.yaml``: a good loop in which a person labels."""
    judge = {name: section for name, section in SETTINGS.items() if name != "run"}
    prompts = {"train": [{"world": "train", "limit": 9}], "test": [{"world": "test", "limit": 9}]}
    loop = {
        "run": SETTINGS["run"],
        "judge": judge,
        "policy": {"prompts": prompts, "model": {"max_context": 128}},
        "labels": {"source": "human"},
    }
    (folder / "loop.yaml").write_text(yaml.safe_dump(loop, sort_keys=False), encoding="utf-8")


def loop_that_says_the_same_twice(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.judge.max-rationale", "9"]
    return BadInput(words, ("policy.judge comes from judge.judge",), "leave it out")


def loop_without_a_gate(folder: Path) -> BadInput:
    write_loop(folder)
    return BadInput([*WORDS, "--judge.data.gate", "[]"], ("judge.data.gate is empty",), "list them there")


def loop_that_serves_what_it_does_not_train(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--method", "star_sft"]
    return BadInput(words, ("method star_sft is not trained",), "list it in judge.bootstrap.methods")


def questions_that_do_not_exist(folder: Path) -> BadInput:
    """Found before the bootstrap, although the policy comes after it."""
    write_loop(folder)
    words = [*WORDS, "--policy.prompts.train", "[{path: questions.jsonl}]"]
    return BadInput(words, ("questions.jsonl does not exist",), "check its `path`")


def weights_sent_by_a_learner_without_a_gpu(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.rollout.weight-backend", "nccl"]
    return BadInput(words, ("weight_backend nccl", "learner.gpus_per_worker is 0"), "set it to auto")


def engines_that_sleep_while_they_generate(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.rollout.sleep", "true", "--policy.ppo.staleness", "1"]
    return BadInput(words, ("rollout.sleep needs engines that rest",), "set ppo.staleness to 0")


def adapter_that_changes_under_running_answers(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.learner.lora-rank", "8", "--policy.ppo.staleness", "1"]
    return BadInput(words, ("an adapter that answers use can't be changed",), "set ppo.staleness to 0")


def learner_that_can_not_leave_its_gpu(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.placement", "shared", "--policy.learner.gpus-per-worker", "1"]
    words += ["--policy.learner.zero-stage", "3"]
    return BadInput(words, ("placement shared", "learner.zero_stage is 3"), "set it to 2")


def nucleus_that_the_policy_gradient_is_not_of(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.sampling.top-p", "0.9"]
    return BadInput(words, ("sampling.top_p 0.9 samples from another distribution",), "set it to 1")


def refills_without_groups_to_compare(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.ppo.refills", "2", "--policy.ppo.advantage", "gae"]
    return BadInput(words, ("refills looks for groups", "advantage gae"), "set refills to 0")


def importance_range_without_the_weight_of_agreement(folder: Path) -> BadInput:
    write_loop(folder)
    words = [*WORDS, "--policy.ppo.correction-range", "[1.5, 2.0]"]
    return BadInput(words, ("correction_range 1.5, 2.0",), "must hold 1")


def waiting_loop(folder: Path, **change: Any) -> None:
    """A loop that waits for labels, with the first line of its file filled and changed so."""
    write_loop(folder)
    comparison = NewComparison(PreferencePair.create("add 1 2", "3", "4"))
    with RunDirectory(load_config(LoopConfig, "loop.yaml")) as run:
        run.claim()
        row = {"id": comparison.id, "prompt": [{"role": "user", "content": "add 1 2"}], "category": "", "world": ""}
        answers = dict(zip(("answer_a", "answer_b"), comparison.answers, strict=True))

        def compute(directory: Path) -> dict[str, Any]:
            (directory / COMPARISONS).write_text(json.dumps(row | answers) + "\n", encoding="utf-8")
            return {}

        run.stage("turn1/preferences/comparisons", compute)
        path = run.path / "turn1" / LABEL_FILE
        write_label_file(path, [comparison], "human", "genrm-rl loop")
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change) + "\n", encoding="utf-8")


def label_that_is_none_of_the_three(folder: Path) -> BadInput:
    waiting_loop(folder, label="c")
    names = ("runs/new/turn1/label_me.jsonl:1: label 'c' is none of a, b, skip",)
    return BadInput(WORDS, names, "mend the file and give the command again")


def label_of_a_changed_answer(folder: Path) -> BadInput:
    waiting_loop(folder, answer_a="5", label="a")
    names = ("label_me.jsonl:1: `answer_a` of comparison", "was changed")
    return BadInput(WORDS, names, "mend the file and give the command again")


LOOP_KINDS = (
    loop_that_says_the_same_twice,
    loop_without_a_gate,
    loop_that_serves_what_it_does_not_train,
    questions_that_do_not_exist,
    weights_sent_by_a_learner_without_a_gpu,
    engines_that_sleep_while_they_generate,
    adapter_that_changes_under_running_answers,
    learner_that_can_not_leave_its_gpu,
    nucleus_that_the_policy_gradient_is_not_of,
    refills_without_groups_to_compare,
    importance_range_without_the_weight_of_agreement,
    label_that_is_none_of_the_three,
    label_of_a_changed_answer,
)
