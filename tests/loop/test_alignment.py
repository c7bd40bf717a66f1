"""The alignment loops end to end: a served judge, a policy, real engines and learners."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from safetensors.torch import load_file

from genrm_rl.algorithms.advantages import has_spread
from genrm_rl.alignment.answers import read_answers
from genrm_rl.alignment.hosts import own_service
from genrm_rl.alignment.lost import RewardsLostError
from genrm_rl.alignment.prompts import load_prompts
from genrm_rl.alignment.report import render
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.rollout.parity import DEFAULT_LIMIT_NATS
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest
from genrm_rl.stories.align_policy import run_alignment
from tests.loop.conftest import YAML

LOG_ODDS = ("--reward.rule", "log_odds", "--reward.reference", "policy")


@pytest.fixture(scope="session")
def aligned(waiting: Path) -> Path:
    """The loop's alignment: PPO with a critic, rewarded by Eq. 6, with a judge that the run serves itself."""
    return waiting / "turn1/align"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of further alignments, with the loop's settings and the untrained judge."""
    root = tmp_path_factory.mktemp("align")
    whole = yaml.safe_load(YAML)
    alone = {**whole["policy"], "judge_model": whole["judge"]["model"], "reward": {}}
    (root / "align.yaml").write_text(yaml.safe_dump(alone), encoding="utf-8")
    return root


def config_of(folder: Path, run_id: str, *words: str) -> AlignConfig:
    path = next(parent / "align.yaml" for parent in (folder, folder.parent) if (parent / "align.yaml").is_file())
    return load_config(AlignConfig, path, ["--run.root", str(folder), "--run.id", run_id, *words])


@pytest.fixture(scope="module")
def judge(folder: Path, ray_cluster):
    """Address of a service that outlives the runs, as a judge on a cluster does."""
    with own_service(config_of(folder, "service"), Console(quiet=True)) as url:
        yield url


@pytest.fixture(scope="module")
def ppo_run(folder: Path, judge: str) -> Path:
    return run_alignment(config_of(folder, "ppo", *LOG_ODDS, "--reward.url", judge), Console(quiet=True))


def test_eq_6_compares_with_the_starting_policys_answers(aligned):
    """Kept with the run before the first step; an answer that is the reference ties with it."""
    rows = map(json.loads, (aligned / "references/references.jsonl").read_text().splitlines())
    references = {row["prompt_id"]: row["reference"] for row in rows}
    groups = [group for path in aligned.glob("steps/*/rollout/answers.parquet") for group in read_answers(path)]
    assert {group[0].answer.prompt_id for group in groups} <= set(references)
    answers = [judged for group in groups for judged in group if judged.record.reward is not None]
    same = [judged for judged in answers if judged.answer.text == references[judged.answer.prompt_id]]
    assert same and {judged.record.reward for judged in same} == {0.0}
    assert any(judged.record.reward != 0.0 for judged in answers)


def test_ppo_learns_from_rewards_that_lead_to_rationales(aligned):
    rollout = aligned / "steps/00001/rollout"
    judgments = [json.loads(line) for line in (rollout / "judgments.jsonl").read_text().splitlines()]
    known = {judgment["id"]: judgment for judgment in judgments}
    judge = read_manifest(aligned.parent / "stages/bootstrap")["judge"]
    rewarded = [j for group in read_answers(rollout / "answers.parquet") for j in group if j.record.reward is not None]
    assert rewarded
    for judged in rewarded:
        assert judged.record.judge_version == judge["version"]
        for judgment in (known[identifier] for identifier in judged.record.judgments):
            unasked = judgment["votes"] == 0 and judgment["tie"] and judged.record.reward == 0  # equals the reference
            assert judgment["rationales"] or unasked
    metrics = read_json(aligned / "steps/00001/metrics.json")
    assert metrics["train/grad_norm"] > 0 and metrics["train/critic_loss"] >= 0
    assert abs(metrics["train/kl_engine"]) < 1e-2  # engine and learner agree on what was sampled
    assert metrics["train/entropy"] > 0 and metrics["train/skipped_updates"] == 0


def test_engine_and_learner_agree_on_every_sampled_token_at_the_temperature(aligned, loop_config):
    """The starting weights: what the engine gave each token, against transformers with its logits divided."""
    import torch
    from transformers import AutoModelForCausalLM

    config = loop_config.policy
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path))
    prompts = load_prompts(config.prompts, chat, room=config.model.max_context, seed=loop_config.run.seed).by_id
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    answers = [
        judged.answer for group in read_answers(aligned / "steps/00000/rollout/answers.parquet") for judged in group
    ]
    assert {answer.weight_version for answer in answers} == {"base"}
    for answer in answers:
        start = len(prompts[answer.prompt_id].token_ids)
        ids = torch.tensor([(*prompts[answer.prompt_id].token_ids, *answer.token_ids)])
        with torch.no_grad():
            logp = (network(ids).logits[0, start - 1 : -1] / 0.8).log_softmax(-1)
        expected = logp.gather(1, ids[0, start:, None])[:, 0]
        assert list(answer.logprobs_T) == pytest.approx(expected.tolist(), abs=DEFAULT_LIMIT_NATS["float32"])
        # The end token is there where the policy wrote it, and never where it was cut off.
        assert (answer.token_ids[-1] == chat.stop_token_id) == (answer.finish_reason == "stop")


def test_the_page_and_the_numbers_are_there(aligned):
    report = read_json(aligned / "report.json")
    assert [row["decoding"] for row in report["differences"]] == ["sampled"]
    assert abs(sum(report["time"].values()) - 1) < 0.02
    assert report["probes"][0]["probes"]["empty"]["judged"] + report["probes"][0]["probes"]["empty"]["refused"] <= 3
    page = (aligned / "report.html").read_text(encoding="utf-8")
    assert "Hacking probes" in page and "<script" not in page


def test_a_service_may_say_no_more_than_its_verdicts(aligned):
    report = read_json(aligned / "report.json")
    said = [judgment for group in report["examples"] for judgment in group["judgments"]]
    assert said
    for judgment in said:
        for name in judgment.keys() - {"id", "verdict"}:
            del judgment[name]
    page = render(report)
    assert all(judgment["id"] in page for judgment in said)


@pytest.mark.drill
def test_a_run_that_was_cut_off_ends_the_same(ppo_run, folder, judge):
    """As after a kill in the second step, for want of memory: its answers are on disk, its update is not, and it goes
    on with half the microbatch."""
    again = folder / "cut" / "ppo"
    shutil.copytree(ppo_run, again)
    for name in ("policy", "checkpoints/00002", "evaluation/00002", "sync"):
        shutil.rmtree(again / name)
    (again / "steps/00001/metrics.json").unlink()
    smaller = ("--learner.tokens-per-microbatch", "1024", "--rollout.max-in-flight", "16", "--checkpoint-every", "5")
    run_alignment(config_of(folder / "cut", "ppo", *LOG_ODDS, "--reward.url", judge, *smaller), Console(quiet=True))
    expected, found = (load_file(path / "policy/model.safetensors") for path in (ppo_run, again))
    for name, tensor in expected.items():
        # AdamW turns a gradient that is nothing but rounding noise into a step of a whole learning rate.
        assert (found[name] - tensor).abs().mean() < 1e-6, name


@pytest.mark.drill
def test_dpo_chooses_pairs_by_margin_and_keeps_a_policy(folder, judge):
    words = ("--method", "dpo", "--evaluation.probes", "0", "--reward.url", judge)
    run = run_alignment(config_of(folder, "dpo", *words), Console(quiet=True))
    metrics = read_json(run / "steps/00000/metrics.json")
    assert metrics["dpo/pairs"] > 0
    assert is_complete(run / "policy")


@pytest.mark.drill
def test_answers_ahead_are_within_the_bound_and_a_second_judge_looks_on(folder, judge):
    words = ("--ppo.advantage", "dr_grpo", "--ppo.staleness", "1", "--ppo.steps", "3", "--evaluation.probes", "0")
    words += ("--ppo.refills", "2")
    service = ("--reward.url", judge, "--evaluation.second-judge-url", judge)
    run = run_alignment(config_of(folder, "stale", *words, *service), Console(quiet=True))
    versions = [
        {
            version
            for group in read_answers(path)
            for judged in group
            for version, _ in judged.answer.tokens_by_version()
        }
        for path in sorted(run.glob("steps/*/rollout/answers.parquet"))
    ]
    assert versions[0] == {"base"}
    assert "base" in versions[1] <= {"base", "step-00001"}
    assert "step-00001" in versions[2] <= {"step-00001", "step-00002"}
    metrics = [read_json(path) for path in sorted(run.glob("steps/*/metrics.json"))]
    assert [row["rollout/staleness_max_steps"] for row in metrics] == [0, 1, 1]
    assert all(0 < row["rollout/staleness_steps"] <= 1 for row in metrics[1:])
    # The learner's probabilities differ from those that were sampled from, and the correction sees by how much.
    assert abs(metrics[0]["train/kl_engine"]) < 1e-2
    assert abs(metrics[1]["train/kl_engine"]) > abs(metrics[0]["train/kl_engine"])
    for path, row in zip(sorted(run.glob("steps/*/rollout/answers.parquet")), metrics, strict=True):
        groups = read_answers(path)
        assert len({group[0].answer.prompt_id for group in groups}) == len(groups), "a refill asks new questions"
        spread = sum(has_spread([judged.record.reward for judged in group]) for group in groups)
        assert (len(groups) == 6) == (spread == len(groups)), "asked for more if and only if one of six had no spread"
        assert row["reward/spread_share"] == pytest.approx(spread / len(groups))
    measured = next(row for row in read_json(run / "report.json")["evaluation"] if row["step"])
    assert measured["second_judge"] == "base"
    # Both judges are the same one here, and both are asked greedily about the same answers.
    assert measured["win_rate"] == pytest.approx(measured["proxy_win_rate"])


@pytest.mark.drill
def test_lost_rewards_stop_the_run_and_are_asked_for_again(folder, judge):
    """A deadline that no judge can keep; then one that it can."""
    words = ("--ppo.advantage", "dr_grpo", "--ppo.steps", "1", "--evaluation.probes", "0", "--reward.url", judge)
    config = config_of(folder, "lost", *words, "--reward.unscored-steps", "1", "--reward.deadline", "0.001")
    with pytest.raises(RewardsLostError, match="--rejudge"):
        run_alignment(config, Console(quiet=True))
    path = folder / "lost/steps/00000/rollout/answers.parquet"
    before = read_answers(path)
    run = run_alignment(config_of(folder, "lost", *words), Console(quiet=True), rejudge=True)
    after = read_answers(path)
    assert [[judged.answer for judged in group] for group in after] == [[j.answer for j in group] for group in before]
    assert {judged.record.reward for group in before for judged in group} == {None}
    assert any(judged.record.reward is not None for group in after for judged in group)
    assert read_json(run / "steps/00000/metrics.json")["train/grad_norm"] > 0
