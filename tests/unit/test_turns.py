"""Whose turn it is on GPUs that engines, judge and learners share in time: nobody comes before the others have left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genrm_rl.alignment.hosts import groups_in_flight, serve_config
from genrm_rl.alignment.turns import Turns
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config

ROOT = Path(__file__).parents[2]
FULL = 1.0


class Gpu:
    """Memory that roles take and give back; who takes more than there is, is refused as a GPU would."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self.log: list[str] = []

    def take(self, who: str, amount: float, said: str) -> None:
        self.taken[who] = amount
        self.log.append(said)
        assert sum(self.taken.values()) <= FULL, f"{said}: no room beside {self.taken}"


class Pool:
    """An engine pool, as far as turns know it."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.asleep = gpu, False

    def sleep(self, *, until_published: bool = True) -> None:
        if not self.asleep:
            self.gpu.take("engines", 0.0, "engines drop weights" if until_published else "engines keep weights")
        self.asleep = True

    def wake(self) -> None:
        if self.asleep:
            self.gpu.take("engines", 0.45, "engines wake")
        self.asleep = False

    publish = wake


class Learner:
    """A learner's group."""

    def __init__(self, gpu: Gpu, name: str, size: float) -> None:
        self.gpu, self.name, self.size, self.away = gpu, name, size, True

    def offload(self) -> None:
        if not self.away:
            self.gpu.take(self.name, 0.0, f"{self.name} leaves")
        self.away = True

    def reload(self) -> None:
        if self.away:
            self.gpu.take(self.name, self.size, f"{self.name} returns")
        self.away = False


class Judge:
    """The connection to the served judge."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def post(self, path: str, body: dict) -> dict:
        word = path.removeprefix("/v1/judge/")
        self.gpu.take("judge", {"sleep": 0.0, "wake": 0.4}[word], f"judge: {word}")
        return body


@pytest.fixture
def gpu() -> Gpu:
    found = Gpu()
    found.taken = {"engines": 0.45, "judge": 0.4}
    return found


@pytest.fixture
def turns(gpu: Gpu) -> Turns:
    return Turns(Pool(gpu), [Learner(gpu, "policy", 0.6), Learner(gpu, "reference", 0.3)], Judge(gpu))


def step(turns: Turns) -> None:
    """Learn from what the engines wrote, and publish."""
    turns.learn()
    turns.hand_over()
    turns._pool.publish()
    turns.generate()


def measurement(turns: Turns) -> None:
    """Something that learners compute between two pieces of the engines' work."""
    with turns.learning():
        turns._pool.gpu.log.append("KL")


ORDER = ["judge: sleep", "policy returns", "reference returns"]
BACK = ["policy leaves", "reference leaves", "engines wake", "judge: wake"]


@pytest.mark.parametrize(
    ("work", "order"),
    [
        (step, ["engines drop weights", *ORDER, *BACK]),
        (measurement, ["engines keep weights", *ORDER, "KL", *BACK]),
    ],
)
def test_nobody_comes_before_the_others_have_left(
    gpu: Gpu, turns: Turns, work: Callable[[Turns], None], order: list[str]
) -> None:
    for _ in range(2):
        gpu.log.clear()
        work(turns)
        assert gpu.log == order


def test_weights_that_are_published_next_stay_on_the_gpu_no_longer_than_needed(gpu: Gpu, turns: Turns) -> None:
    turns.learn()
    turns.learn()
    assert gpu.log.count("engines drop weights") == 1 and gpu.log.count("policy returns") == 1


def test_without_shared_gpus_learners_and_judge_are_left_alone(gpu: Gpu) -> None:
    alone = Turns(Pool(gpu))
    step(alone)
    assert gpu.log == ["engines drop weights", "engines wake"], "the pool itself knows whether it sleeps"


def test_the_judge_is_given_work_for_all_of_its_replicas_and_takes_all_of_it() -> None:
    files = ["jobs/configs/align_llama8b.yaml", "placement/presets/one_node_llama8b_shared.yaml"]
    config = load_config(AlignConfig, [ROOT / file for file in files])
    assert groups_in_flight(config) == config.reward.max_in_flight * 8
    assert serve_config(config).serving.max_pending >= groups_in_flight(config) * config.ppo.samples_per_prompt
    elsewhere = config.model_copy(update={"reward": config.reward.model_copy(update={"url": "http://127.0.0.1:1"})})
    assert groups_in_flight(elsewhere) == config.reward.max_in_flight
    pairs = config.model_copy(update={"reward": config.reward.model_copy(update={"rule": "round_robin"})})
    assert serve_config(pairs).serving.max_pending == groups_in_flight(pairs) * 8 * 7 // 2
