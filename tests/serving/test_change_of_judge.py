"""Another judge is served while groups are judged: nothing is lost, and every reply names the judge that gave it."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from genrm_rl.config.reward import RewardConfig
from genrm_rl.models import ResolvedModel
from genrm_rl.rewards.client import Group, RewardClient
from genrm_rl.rewards.types import Mask
from genrm_rl.runtime.storage import publish_directory
from genrm_rl.serving.replicas.judge_apps import APP, judge_apps

OTHER = "star_sft-1"
GROUPS = [{"prompt": f"add {n} 5 1", "responses": [f"{n + 6}", f"{n + 5}", f"the answer is {n}"]} for n in range(4)]
BREATH = 0.25  # seconds between two calls of a thread: the judge that starts needs a core too
RULES = ("round_robin", "knockout")  # all at once; round after round


@pytest.fixture(scope="module")
def checkpoint(tiny_model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with every weight far off. Greedily the shipped one always names the first answer (P(A) is one
    half), and this one writes nothing that is a verdict: that tells them apart."""
    path = tmp_path_factory.mktemp("methods") / "star_sft" / "round1" / "checkpoint"
    generator = torch.Generator().manual_seed(0)
    with publish_directory(path, {"objective": "sft", "version": OTHER}) as directory:
        shutil.copytree(tiny_model.path, directory, dirs_exist_ok=True)
        for file in directory.glob("*.safetensors"):
            weights = load_file(file).items()
            noisy = {name: each * (1 + 0.5 * torch.randn(each.shape, generator=generator)) for name, each in weights}
            save_file(noisy, file, metadata={"format": "pt"})
    return path


@pytest.fixture
def served_again(client: httpx.Client) -> Iterator[None]:
    """The judge of the other tests is back afterwards."""
    yield
    assert client.post("/v1/judge", json={"checkpoint": "base"}, timeout=600).json() == {"judge_version": "base"}
    wait_for_the_old_judge(client)


def wait_for_the_old_judge(client: httpx.Client) -> None:
    """Until its replicas have ended; pytest's own timeout ends a wait in vain."""
    while client.get("/healthz").json()["finishing"]:
        time.sleep(0.2)


def rewarded(client: httpx.Client, group: dict, rule: str, version: str | None = None) -> dict:
    body = {"groups": [group], "rule": rule, "greedy": True, "judge_version": version}
    reply = client.post("/v1/rewards", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def probabilities(client: httpx.Client, version: str) -> dict[str, float]:
    """P(A wins) by judgment, as the judge that is served now gives it; -1 for no verdict."""
    replies = [rewarded(client, group, rule, version) for group, rule in itertools.product(GROUPS, RULES)]
    return {key: p_a for reply in replies for key, p_a in found(reply).items()}


def found(reply: dict) -> dict[str, float]:
    return {each["id"]: -1.0 if each["p_a"] is None else each["p_a"] for each in reply["judgments"]}


@pytest.mark.drill
def test_the_judge_changes_under_load(client: httpx.Client, checkpoint: Path, served_again: None) -> None:
    known = {"base": probabilities(client, "base")}
    stop = threading.Event()

    def keep_asking(first: int) -> list[dict]:
        asked = itertools.islice(itertools.cycle(itertools.product(GROUPS, RULES)), first, None)
        replies = []
        while not stop.wait(BREATH):
            replies.append(rewarded(client, *next(asked)))
        return [*replies, rewarded(client, *next(asked))]  # the last one after the change

    with ThreadPoolExecutor(5) as threads, RewardClient(str(client.base_url), RewardConfig(attempts=2)) as trainer:
        try:
            asking = [threads.submit(keep_asking, first) for first in range(4)]
            changing = threads.submit(client.post, "/v1/judge", json={"checkpoint": str(checkpoint)}, timeout=600)
        finally:
            reply = changing.result()
            stop.set()
        replies = [reply for each in asking for reply in each.result()]
        assert (reply.status_code, reply.json()) == (200, {"judge_version": OTHER}), reply.text
        known[OTHER] = probabilities(client, OTHER)
        (group,) = trainer.rewards([Group("add 1 5 1", ("7", "6"))], judge_version="base")
        assert {record.mask for record in group.records} == {Mask.OTHER_VERSION}
    assert {reply["judge_version"] for reply in replies} == {"base", OTHER}
    same = [key for key in known["base"] if known["base"][key] == pytest.approx(known[OTHER].get(key), abs=1e-3)]
    assert len(same) < len(known["base"]) / 2, "else this test could not tell them apart"
    for reply in replies:
        judge = known[reply["judge_version"]]
        assert found(reply) == pytest.approx({key: judge[key] for key in found(reply)}, abs=1e-3)
    shown = client.get(f"/v1/judgments/{replies[0]['judgments'][0]['id']}").json()
    assert shown["judge_version"] == OTHER, "the judge of the last judgment with this id"
    wait_for_the_old_judge(client)
    assert len(judge_apps(APP)) == 1


@pytest.mark.drill
def test_a_judge_that_does_not_start_changes_nothing(client: httpx.Client, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "methods" / "broken" / "round1" / "checkpoint"
    shutil.copytree(checkpoint, broken)
    for file in broken.glob("*.safetensors"):
        weights = load_file(file).items()  # whole embeddings: else their headers refuse the judge before it starts
        cut = {name: each if "embed" in name else each[:-1].clone() for name, each in weights}
        save_file(cut, file, metadata={"format": "pt"})
    reply = client.post("/v1/judge", json={"checkpoint": str(broken)}, timeout=600)
    assert reply.status_code == 503 and "base is still served" in reply.json()["detail"], reply.text
    assert "\n" not in reply.json()["detail"]
    assert client.get("/healthz").json()["judge_version"] == "base"
    assert len(judge_apps(APP)) == 1
    rewarded(client, GROUPS[0], "round_robin", "base")
