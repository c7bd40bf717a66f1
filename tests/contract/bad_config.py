"""Bad settings, one function each. Each spoils the good input of a folder and says what the one sentence must hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.contract.bad_input_files import BadInput, bootstrap, write_settings


def unknown_key_in_the_file(folder: Path) -> BadInput:
    write_settings(folder, bootstrap={"iteratons": 2})
    return BadInput(bootstrap(), ("job.yaml:", "unknown key bootstrap.iteratons"), "did you mean bootstrap.iterations?")


def unknown_key_on_the_command_line(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.sample-per-order", "2")
    return BadInput(words, ("command line", "bootstrap.sample_per_order"), "did you mean bootstrap.samples_per_order?")


def key_without_its_section(folder: Path) -> BadInput:
    return BadInput(bootstrap("--seed", "2"), ("command line", "unknown key seed"), "did you mean run.seed?")


def value_of_the_wrong_type(folder: Path) -> BadInput:
    write_settings(folder, run={"seed": "many"})
    return BadInput(bootstrap(), ("job.yaml:", "run.seed", "'many'"), "should be a valid integer")


def value_out_of_range(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.top-p", "1.5")
    return BadInput(words, ("command line", "bootstrap.top_p", "1.5"), "less than or equal to 1")


def value_that_is_not_a_number(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.dpo.beta", ".nan")
    return BadInput(words, ("command line", "bootstrap.dpo.beta", "nan"), "should be a finite number")


def value_for_a_whole_section(folder: Path) -> BadInput:
    (folder / "job.yaml").write_text("model: tiny\n", encoding="utf-8")
    words = bootstrap("--model.max-context", "256")
    return BadInput(words, ("job.yaml:1", "model", "'tiny'"), "model.name")


def broken_yaml(folder: Path) -> BadInput:
    (folder / "job.yaml").write_text("run: {id: x}\nmodel: [tiny\ndata: {}\n", encoding="utf-8")
    return BadInput(bootstrap(), ("job.yaml:3", "not valid YAML"), "expected ',' or ']'")


def yaml_with_a_control_character(folder: Path) -> BadInput:
    (folder / "job.yaml").write_bytes(b"run: {id: \x07}\n")
    return BadInput(bootstrap(), ("job.yaml:1", "not valid YAML"), "special characters are not allowed")


def missing_config_file(folder: Path) -> BadInput:
    words = ["bootstrap", "--config", "jobs.yaml"]
    return BadInput(words, ("jobs.yaml does not exist",), "that folder has job.yaml")


def key_written_twice(folder: Path) -> BadInput:
    (folder / "job.yaml").write_text("run:\n  id: x\nrun:\n  id: y\n", encoding="utf-8")
    return BadInput(bootstrap(), ("job.yaml:3", "run a second time"), "first at job.yaml:1")


def config_not_in_utf8(folder: Path) -> BadInput:
    (folder / "job.yaml").write_bytes("run: {id: für}\n".encode("latin-1"))
    return BadInput(bootstrap(), ("job.yaml", "not UTF-8", "byte 11"), "save it as UTF-8")


def override_without_a_value(folder: Path) -> BadInput:
    return BadInput(bootstrap("--run.seed"), ("--run.seed needs a value",), "e.g. --run.seed 1")


def entry_that_the_list_does_not_have(folder: Path) -> BadInput:
    words = bootstrap("--data.test.3.limit", "5")
    return BadInput(words, ("data.test.3.limit", "no entry 3"), "must list it first")


def list_used_as_a_section(folder: Path) -> BadInput:
    words = bootstrap("--data.test.limit", "5")
    return BadInput(words, ("data.test.limit", "is a list"), "--data.test.0.limit")


def rationale_longer_than_the_context(folder: Path) -> BadInput:
    words = bootstrap("--judge.max-rationale", "400")
    return BadInput(words, ("judge.max_rationale 400", "model.max_context 320"), "lower judge.max_rationale")


def source_with_both_path_and_world(folder: Path) -> BadInput:
    write_settings(folder, data={"test": [{"path": "test.jsonl", "world": "id"}]})
    return BadInput(bootstrap(), ("job.yaml:", "data.test.0"), "exactly one of `path` and `world`")


def run_id_that_leaves_its_folder(folder: Path) -> BadInput:
    return BadInput(bootstrap("--run.id", ".."), ("command line", "run.id", "'..'"), "letters, digits")


def run_id_with_blanks(folder: Path) -> BadInput:
    return BadInput(bootstrap("--run.id", "my run"), ("command line", "run.id", "'my run'"), "letters, digits")


def resume_of_a_run_that_is_not_there(folder: Path) -> BadInput:
    words = bootstrap("--run.id", "ghost", "--resume")
    return BadInput(words, ("no run 'ghost' in runs", "there are: earlier"), "leave out --resume to start it")


def no_method(folder: Path) -> BadInput:
    return BadInput(bootstrap("--bootstrap.methods", "[]"), ("bootstrap.methods",), "name at least one")


def unknown_method(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.methods", "[llm_judge, star_dop]")
    return BadInput(words, ("command line", "bootstrap.methods.1", "'star_dop'"), "'star_dpo'")


def method_named_twice(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.methods", "[llm_judge, llm_judge]")
    return BadInput(words, ("bootstrap.methods", "llm_judge"), "name each once")


def verdict_rl_from_a_judge_that_comes_later(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.methods", "[verdict_rl, star_dpo]", "--bootstrap.verdict-rl.start-from", "star_dpo")
    return BadInput(words, ("bootstrap", "verdict_rl.start_from 'star_dpo'"), "before verdict_rl in methods")


def no_decoding(folder: Path) -> BadInput:
    return BadInput(bootstrap("--evaluation.decoding", "[]"), ("evaluation.decoding",), "name at least one")


def two_test_sets_of_one_name(folder: Path) -> BadInput:
    write_settings(folder, data={"test": [{"path": "test.jsonl"}, {"path": "test.jsonl", "limit": 3}]})
    return BadInput(bootstrap(), ("data.test", "2 sets called `test`"), "give each its own `name`")


def endless_world_source(folder: Path) -> BadInput:
    write_settings(folder, data={"test": [{"world": "id"}]})
    return BadInput(bootstrap(), ("endless", "world: id"), "a `limit`")


def nothing_to_learn_from(folder: Path) -> BadInput:
    write_settings(folder, data={"train": []})
    return BadInput(bootstrap(), ("data.train", "star_dpo"), "list training pairs under data.train")


def nothing_to_evaluate_on(folder: Path) -> BadInput:
    write_settings(folder, data={"test": []})
    return BadInput(bootstrap(), ("nothing to evaluate on",), "list pair files under data.test")


def more_rounds_than_pairs(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.iterations", "9")
    return BadInput(words, ("bootstrap.iterations is 9", "8 training pairs"), "lower it")


def wandb_asked_for_but_not_installed(folder: Path) -> BadInput:
    words = bootstrap("--tracking.wandb-project", "judges")
    return BadInput(words, ("tracking.wandb_project", "wandb is not installed"), "`pip install wandb` or unset it")


def mlflow_asked_for_but_not_installed(folder: Path) -> BadInput:
    words = bootstrap("--tracking.mlflow-experiment", "judges")
    return BadInput(words, ("tracking.mlflow_experiment", "mlflow is not installed"), "`pip install mlflow`")


def attention_that_cannot_run_here(folder: Path) -> BadInput:
    words = bootstrap("--learner.attention", "flash_attention_2", "--learner.precision", "float32")
    return BadInput(words, ("learner.attention is flash_attention_2", "learner.precision bfloat16"), "use `auto`")


def attention_that_cannot_be_packed(folder: Path) -> BadInput:
    words = bootstrap("--learner.attention", "eager")
    return BadInput(words, ("learner.attention eager", "packed"), "set learner.packing to off")


def weights_sent_from_a_gpu_that_is_not_there(folder: Path) -> BadInput:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    words = bootstrap("--rollout.weight-backend", "ipc")
    return BadInput(words, ("rollout.weight_backend ipc", "has none"), "set it to auto or shared_memory")


def more_gpus_than_this_machine_has(folder: Path) -> BadInput:
    words = bootstrap("--learner.gpus-per-worker", "99")
    return BadInput(words, ("learner.gpus_per_worker asks for 99 GPUs",), "set RAY_ADDRESS to a cluster")


def more_engines_than_fit_on_this_machine(folder: Path) -> BadInput:
    words = bootstrap("--rollout.engines", "9999")
    return BadInput(words, ("asks for 10001 CPUs",), "lower rollout.engines")


def run_folder_that_is_a_file(folder: Path) -> BadInput:
    (folder / "taken").write_text("x", encoding="utf-8")
    return BadInput(bootstrap("--run.root", "taken"), ("taken/new", "can't be made"), "another --run.root")


def run_folder_in_no_store(folder: Path) -> BadInput:
    return BadInput(bootstrap("--run.root", "ftp://host/runs"), ("ftp://host/runs", "no place for runs"), "s3://")


def smoothing_that_the_loss_does_not_have(folder: Path) -> BadInput:
    words = bootstrap("--bootstrap.sft.label-smoothing", "0.1")
    return BadInput(words, ("bootstrap", "sft.label_smoothing would change nothing"), "set it to 0")


def way_to_ask_that_does_not_exist(folder: Path) -> BadInput:
    words = ["evaluate", "llm_judge", "--config", "job.yaml", "--form", "essay"]
    return BadInput(words, ("--form essay",), "choose cot, direct or points")


def benchmark_that_does_not_exist(folder: Path) -> BadInput:
    words = ["benchmark", "llm_judge", "--suite", "rewardbench3", "--path", "test.jsonl"]
    return BadInput(words, ("--suite rewardbench3", "rewardbench2, rm_bench"), "choose one of")


def scale_that_is_no_range(folder: Path) -> BadInput:
    return BadInput(bootstrap("--judge.scale", "9-1"), ("judge.scale: '9-1' is no scale",), "e.g. 1-9")


def ties_that_the_judge_cannot_say(folder: Path) -> BadInput:
    return BadInput(bootstrap("--data.ties", "learn"), ("data.ties learn needs a judge",), "set judge.ties")


def rule_that_does_not_exist(folder: Path) -> BadInput:
    words = ["best-of", "llm_judge", "--path", "test.jsonl", "--rule", "best"]
    return BadInput(words, ("--rule best is no rule", "knockout, points"), "choose one of")


CONFIG_KINDS = (
    unknown_key_in_the_file,
    unknown_key_on_the_command_line,
    key_without_its_section,
    value_of_the_wrong_type,
    value_out_of_range,
    value_that_is_not_a_number,
    value_for_a_whole_section,
    broken_yaml,
    yaml_with_a_control_character,
    missing_config_file,
    key_written_twice,
    config_not_in_utf8,
    override_without_a_value,
    entry_that_the_list_does_not_have,
    list_used_as_a_section,
    rationale_longer_than_the_context,
    source_with_both_path_and_world,
    run_id_that_leaves_its_folder,
    run_id_with_blanks,
    resume_of_a_run_that_is_not_there,
    no_method,
    unknown_method,
    method_named_twice,
    verdict_rl_from_a_judge_that_comes_later,
    no_decoding,
    two_test_sets_of_one_name,
    endless_world_source,
    nothing_to_learn_from,
    nothing_to_evaluate_on,
    more_rounds_than_pairs,
    wandb_asked_for_but_not_installed,
    mlflow_asked_for_but_not_installed,
    attention_that_cannot_run_here,
    attention_that_cannot_be_packed,
    weights_sent_from_a_gpu_that_is_not_there,
    more_gpus_than_this_machine_has,
    more_engines_than_fit_on_this_machine,
    run_folder_that_is_a_file,
    run_folder_in_no_store,
    smoothing_that_the_loss_does_not_have,
    way_to_ask_that_does_not_exist,
    benchmark_that_does_not_exist,
    scale_that_is_no_range,
    ties_that_the_judge_cannot_say,
    rule_that_does_not_exist,
)
