"""A Bradley-Terry judge behind the same contract, beside the generative one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from ray import serve
from safetensors.torch import save_file

from genrm_rl.config.serving import ServeConfig
from genrm_rl.learners.checkpoint import SCORE_HEAD_FILE, SCORE_HEAD_KEY
from genrm_rl.models import ResolvedModel
from genrm_rl.runtime.storage import publish_directory
from genrm_rl.serving.app import deploy, drain
from genrm_rl.serving.replicas.judge_apps import judge_apps, judge_to_serve

pytestmark = pytest.mark.drill  # it starts a service of its own
NAME = "scalar"
GROUP = {"prompt": "add 5 0 5 1", "responses": ["11", "8", "the answer is 12", "11"]}


@pytest.fixture(scope="module")
def checkpoint(tiny_model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a score head that nobody trained."""
    path = tmp_path_factory.mktemp("methods") / "bradley_terry" / "round1" / "checkpoint"
    width = json.loads((tiny_model.path / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    head = torch.randn(1, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    with publish_directory(path, {"objective": "bradley_terry", "version": "bradley_terry-1"}) as directory:
        shutil.copytree(tiny_model.path, directory, dirs_exist_ok=True)
        save_file({SCORE_HEAD_KEY: head}, directory / SCORE_HEAD_FILE)
    return path


@pytest.fixture(scope="module")
def scalar(client: httpx.Client, serve_config: ServeConfig, checkpoint: Path) -> Iterator[httpx.Client]:
    """A client of the scalar judge; ``client`` has started Serve."""
    settings = serve_config.model_copy(
        update={"serving": serve_config.serving.model_copy(update={"checkpoint": str(checkpoint), "log_path": None})}
    )
    deploy(settings, judge_to_serve(settings), "", NAME, f"/{NAME}")
    with httpx.Client(base_url=f"{client.base_url}/{NAME}", timeout=120) as http:
        yield http
    for app in (NAME, *judge_apps(NAME)):
        serve.delete(app)


def test_rewards_follow_the_scores(scalar: httpx.Client) -> None:
    reply = scalar.post("/v1/rewards", json={"groups": [GROUP], "rule": "round_robin"}).json()
    assert reply["judge_version"] == "bradley_terry-1"
    (rewards,) = reply["groups"]
    assert rewards[0] == rewards[3], "equal answers have equal scores"
    assert all(each["mask"] is None for each in rewards)
    p = {judgment["id"]: judgment["p_a"] for judgment in reply["judgments"]}
    assert len(p) == 3 and all(0 < value < 1 for value in p.values())
    # Scores are transitive, so whoever wins both of its comparisons has the highest win rate.
    assert len({each["reward"] for each in rewards}) == 3


def test_exchanged_answers_give_the_exchanged_probability(scalar: httpx.Client) -> None:
    pair = {"prompt": "sort cdbge", "response_a": "bcdeg", "response_b": "bcdig"}
    turned = pair | {"response_a": "bcdig", "response_b": "bcdeg"}
    reply = scalar.post("/v1/judgments", json={"comparisons": [pair, turned], "votes": 4, "rationales": True}).json()
    first, second = reply["judgments"]
    assert first["p_a"] == pytest.approx(1 - second["p_a"], abs=1e-5)
    assert first["verdict_ba"] is None and first["votes"] == 1 and first["rationales"] == []


def test_the_best_of_n_costs_one_score_each(scalar: httpx.Client, client: httpx.Client) -> None:
    """Points have no opponents, so a group of one has some, and the order of its responses is nothing to them."""
    (rewards,) = scalar.post("/v1/rewards", json={"groups": [GROUP], "rule": "points"}).json()["groups"]
    assert rewards[0] == rewards[3] and all(len(each["judgments"]) == 1 for each in rewards)
    alone = {"groups": [GROUP | {"responses": ["8"]}], "rule": "points"}
    reply = scalar.post("/v1/rewards", json=alone).json()
    assert reply["groups"][0][0]["reward"] == pytest.approx(rewards[1]["reward"], abs=1e-4)
    assert reply["judgments"][0]["points"]["a"] == reply["groups"][0][0]["reward"]
    best = scalar.post("/v1/best_of", json={key: GROUP[key] for key in ("prompt", "responses")}).json()
    given = [each["reward"] for each in rewards]
    assert best["rule"] == "points" and best["best"] == given.index(max(given)) and best["margin"] > 0
    refused = client.post("/v1/rewards", json=alone)
    assert refused.status_code == 422 and "gives no points" in refused.json()["detail"]


def test_a_scalar_judge_writes_no_text(scalar: httpx.Client) -> None:
    reply = scalar.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
    assert reply.status_code == 404
    assert "bradley_terry" in reply.json()["detail"]


def test_what_does_not_fit_is_refused(scalar: httpx.Client) -> None:
    reply = scalar.post("/v1/rewards", json={"groups": [GROUP | {"responses": ["1 " * 400, "2"]}]})
    assert reply.status_code == 422
    assert "context" in reply.json()["detail"]


def test_what_was_accepted_is_answered_before_the_service_goes(scalar: httpx.Client, serve_config: ServeConfig) -> None:
    """The last test here: the service of this module takes no calls afterwards."""
    samples = [{"prompt": f"sort cab {number}", "response": "abc", "label": None} for number in range(6)]
    with ThreadPoolExecutor(8) as threads:
        # Each waits for the rest of its cohort, which does not come: an answer alone has no reward.
        calls = [threads.submit(scalar.post, "/remote_rm", json=sample) for sample in samples]
        while "genrm_rl_open_calls 7.0" not in scalar.get("/metrics").text:  # these six and the one that asks
            time.sleep(0.05)
        stopping = threads.submit(drain, serve_config.serving, NAME)
        while scalar.get("/healthz").status_code == 200:
            time.sleep(0.05)
        late = scalar.post("/remote_rm", json=samples[0])
        assert late.status_code == 503 and int(late.headers["retry-after"]) >= 1
        assert "finishes what it has accepted" in late.json()["detail"]
        assert [call.result().status_code for call in calls] == [424] * 6
        stopping.result()
