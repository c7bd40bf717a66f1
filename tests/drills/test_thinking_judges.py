"""A judge of each template family goes round: taught to think, served, read, and trained on what it wrote.

One small model of random weights learns to think and decide through five templates at once (tokens are all that weights
know), is sampled by a real engine through each of them, and takes a step of SFT and of DPO on its own traces. The one
whose template begins the thinking is also served over HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from genrm_rl.bootstrap.examples import dpo_examples, sft_examples
from genrm_rl.bootstrap.select import Reason, TracePair, TraceSelection
from genrm_rl.config import JudgeConfig, ModelConfig, RolloutConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.config.serving import ServeConfig, ServingConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.reading import collect_traces
from genrm_rl.judging.requests import both_orders, judge_requests
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.learners.examples import SequenceExample
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.objectives import build_objective
from genrm_rl.learners.pair_objectives import PairLogprobs, ReferencedPair
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.session import RaySession
from genrm_rl.serving.app import running_service
from genrm_rl.serving.replicas.judge_apps import judge_to_serve
from tests.unit.template_families import FAMILIES, family_tokenizer

PAIR = PreferencePair.create("is it so", "yes yes", "nooo")
MODEL = ModelConfig(max_context=384)
LEARNER = LearnerConfig(precision="float32", cpus_per_worker=1, warmup_ratio=0.0, weight_decay=0.0)
ROLLOUT = RolloutConfig(kv_cache_gib=0.25, max_in_flight=32, startup_deadline=900.0)
TAUGHT = 0.005  # loss per token at which greedy decoding says what was taught
MOST_STEPS = 600


def encoder(name: str, **judge: object) -> JudgeEncoder:
    settings = {"max_thinking": 96, "max_rationale": 32} | judge
    return JudgeEncoder.from_config(family_tokenizer(name), JudgeConfig(**settings), MODEL.max_context)  # type: ignore[arg-type]


def thought(slot: str) -> str:
    """What is taught: a draft of the other verdict, then the right one."""
    other = "B" if slot == "A" else "A"
    return f"<think>\nfirst {other}, no.\nverdict: {other}\nit is {slot}.\n</think>\n\n{slot} adds well."


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Learner]:
    """The model, and the learner that holds it."""
    root = tmp_path_factory.mktemp("thinking")
    tokenizer = family_tokenizer("qwen3")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MODEL.max_context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(root / "random")
    tokenizer.save_pretrained(root / "random")
    examples = []
    for name in FAMILIES:
        for swapped in (False, True):
            shown, slot = PAIR.comparison(swapped=swapped), PAIR.label(swapped=swapped)
            written = encoder(name).written_example(shown, thought(slot), slot)
            examples.append(
                SequenceExample.from_completion(
                    written.prompt_token_ids, written.completion_token_ids, f"{name}{swapped}"
                )
            )
    learner = Learner(root / "random", LEARNER, seed=0)
    objective = build_objective("sft", beta=0.1, label_smoothing=0.0, nll_coefficient=0.0)
    for _ in range(MOST_STEPS):
        if learner.step(examples, objective, learning_rate=1e-3).loss < TAUGHT:
            break
    learner.save(root / "taught", root / "random")
    return root / "taught", learner


@pytest.fixture(scope="module")
def pool(ray_cluster: RaySession, taught: tuple[Path, Learner]) -> Iterator[EnginePool]:
    """The engine that serves it, whatever the template."""
    with EnginePool(taught[0], ROLLOUT, MODEL, device="cpu") as engine:
        yield engine


def sample(pool: EnginePool, judge: JudgeEncoder) -> list[Trace]:
    """Greedy traces in both orders."""
    words = {"judge_version": "taught", "purpose": "drill", "run_seed": 0, "temperature": 0.0, "top_p": 1.0}
    requests = judge_requests(both_orders([PAIR.comparison()]), judge, form="cot", **words)  # type: ignore[arg-type]
    return list(collect_traces(requests, pool.generate, judge))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_judge_of_each_family_thinks_is_read_and_learns_from_itself(
    name: str, pool: EnginePool, taught: tuple[Path, Learner]
) -> None:
    judge = encoder(name)
    traces = sample(pool, judge)
    for trace in traces:
        slot = trace.text[-1]  # whichever it came to; a draft of the other letter stands in its thinking
        assert (trace.verdict, trace.finish_reason) == (Verdict.of(slot), "stop"), trace.text
        assert trace.p_a is not None and (trace.p_a > 0.5) is (slot == "A")
        assert trace.text.count("verdict: ") == 2 and trace.text.count("</think>") == 1
        assert "it is " in trace.rationale and trace.rationale.endswith(" adds well.")
    cut = sample(pool, encoder(name, max_thinking=8, max_rationale=1))
    assert [trace.verdict for trace in cut] == [Verdict.TRUNCATED_THINKING] * 2

    pairs, (_, learner) = {PAIR.id: PAIR}, taught
    kept = [TraceSelection(trace, Reason.KEPT) for trace in traces]
    sft = learner.step(
        sft_examples(kept, pairs, judge),
        build_objective("sft", beta=0.1, label_smoothing=0.0, nll_coefficient=0.0),
        learning_rate=1e-6,
    )
    assert sft.applied and sft.loss < 100 * TAUGHT, "its own words are what it was taught to write"
    by_order = {trace.swapped: trace for trace in cut}
    found = dpo_examples([TracePair(trace, by_order[trace.swapped]) for trace in traces], pairs, judge)
    sums = [
        float(each.sum()) for each in learner.logprobs([s for pair in found for s in PairLogprobs().segments(pair)])
    ]
    batch = [ReferencedPair(pair, *sums[2 * index : 2 * index + 2]) for index, pair in enumerate(found)]
    objective = build_objective("dpo", beta=0.1, label_smoothing=0.0, nll_coefficient=0.0)
    assert learner.step(batch, objective, learning_rate=1e-6).loss == pytest.approx(0.6931, abs=1e-2)


def test_a_judge_whose_template_begins_to_think_is_served(
    ray_cluster: RaySession, taught: tuple[Path, Learner]
) -> None:
    path = taught[0].with_name("served")
    path.mkdir()
    for file in taught[0].iterdir():
        (path / file.name).symlink_to(file)
    for written in family_tokenizer("deepseek_r1").save_pretrained(path.with_name("tokenizer")):
        target = path / Path(written).name
        target.unlink(missing_ok=True)
        target.write_bytes(Path(written).read_bytes())
    judge, serving = JudgeConfig(max_thinking=96, max_rationale=32), ServingConfig(port=free_port())
    model = ModelConfig(name=str(path), max_context=MODEL.max_context)
    config = ServeConfig(model=model, judge=judge, rollout=ROLLOUT, serving=serving)
    ask = {"prompt": "is it so", "response_a": "<think>\nnooo?\n</think>\n\nyes yes", "response_b": "nooo"}
    with (
        running_service(config, judge_to_serve(config)) as address,
        httpx.Client(base_url=address, timeout=300) as http,
    ):
        body = {"comparisons": [ask, ask | {"response_b": "<think>\nno"}], "greedy": True, "rationales": True}
        thought_of, missing = http.post("/v1/judgments", json=body).json()["judgments"]
        assert (thought_of["votes"], thought_of["non_verdicts"], missing["verdict"]) == (2, {}, "no_answer")
        assert thought_of["p_a"] is not None and missing["p_a"] is None
        assert all("</think>" in each["text"] for each in thought_of["rationales"])
        turn = {"role": "user", "content": "judge is it so\nA: yes yes\nB: nooo"}
        reply = http.post("/v1/chat/completions", json={"messages": [turn], "temperature": 0, "max_tokens": 128}).json()
        message = reply["choices"][0]["message"]
        assert "it is " in message["reasoning_content"] and "verdict: " in message["content"]
        assert "think>" not in message["reasoning_content"] + message["content"]
