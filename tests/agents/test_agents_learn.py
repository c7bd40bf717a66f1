"""The agents' jobs on real engines and learners: a policy is cloned, trained, cut off, and ends the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from genrm_rl.agents.cloning import clone_agent, played_solutions
from genrm_rl.agents.episodes import read_episodes
from genrm_rl.agents.job import train_agent
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import ConfigError
from genrm_rl.runtime.storage import is_complete
from tests.cut_off import CutOff

STEPS, TASKS, SAMPLES = 3, 6, 4
CONFIG = Path(__file__).parents[2] / "jobs/configs/agents_countdown.yaml"
SMALLER = {
    "environments.host.hosts": 4, "learner.cpus-per-worker": 1, "learner.tokens-per-microbatch": 2048,
    "ppo.steps": STEPS, "ppo.prompts-per-step": TASKS, "ppo.samples-per-prompt": SAMPLES, "parts.outcome-is": "score",
    "evaluation.validation": 10, "evaluation.test": 10, "checkpoint-every": 1, "tracking.tensorboard": "false",
}  # fmt: skip
SETTINGS = [word for name, value in SMALLER.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("agents")


def config_of(folder: Path, run_id: str, *words: str) -> AgentConfig:
    own = ("--run.root", str(folder / "runs"), "--run.id", run_id)
    return load_config(AgentConfig, CONFIG, [*SETTINGS, *own, *words])


@pytest.fixture(scope="module")
def clone(folder, ray_cluster) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # of this process; actors have it from tests/conftest.py
        yield clone_agent(config_of(folder, "clone"), Console(quiet=True))


@pytest.fixture(scope="module")
def trained(folder, clone) -> Path:
    return train_agent(config_of(folder, "trained", "--model.name", str(clone)), Console(quiet=True))


def test_a_clone_acts_by_the_grammar_and_knows_how_to_count_down(trained):
    before = json.loads((trained / "evaluation/validation/00000.json").read_text(encoding="utf-8"))
    assert before["format_rate"] > 0.8
    assert before["score"] > 0.5


def test_thoughts_that_no_solution_has_are_not_cloned(folder, clone):
    with pytest.raises(ConfigError, match="known solutions have none"):
        clone_agent(config_of(folder, "thinks", "--acting.style", "react"), Console(quiet=True))


def test_every_episode_is_on_disk_and_what_was_learned_is_what_was_sampled(trained):
    for step in range(STEPS):
        episodes = read_episodes(trained / f"steps/{step:05d}/episodes/episodes.parquet")
        assert len(episodes) == TASKS * SAMPLES and len({episode.task_id for episode in episodes}) == TASKS
        assert not any(episode.masked for episode in episodes)
        row = json.loads((trained / f"steps/{step:05d}/metrics.json").read_text(encoding="utf-8"))
        assert row["reward/mean"] == pytest.approx(sum(episode.score for episode in episodes) / len(episodes))
        # Probabilities of whole conversations in the learner are those of turn after turn in the engine.
        assert abs(row["train/kl_engine"]) < 1e-3 and row["train/importance"] == pytest.approx(1.0, abs=1e-2)
        versions = {turn.tokens.weight_version for episode in episodes for turn in episode.turns}
        assert versions == {f"step-{step:05d}" if step else "base"}


def test_what_succeeded_can_be_cloned(folder, trained):
    config = config_of(folder, "again", "--clone.episodes", f"[{trained}]")
    played = [each for path in trained.glob("steps/*/episodes/*.parquet") for each in read_episodes(path)]
    right = [each for each in played if each.success and each.format_rate == 1.0]
    found = {each.task_id: each for each in played_solutions(config)}
    assert found and found.keys() == {each.task_id for each in right}
    for task, solution in found.items():
        shortest = min((each for each in right if each.task_id == task), key=lambda each: len(each.turns))
        assert len(solution.turns) == len(shortest.turns)
        assert {turn.observation.goal for turn in solution.turns} == {"Reach 0 exactly."}


def test_the_policy_is_kept_and_its_page_shows_it(trained):
    assert is_complete(trained / "policy")
    report = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert report and "subtract" in page and "<script" not in page


def test_a_run_that_was_cut_off_ends_the_same(folder, clone, trained):
    config = config_of(folder, "cut", "--model.name", str(clone))
    with pytest.raises(KeyboardInterrupt):
        train_agent(config, CutOff(f"step 2/{STEPS}"))
    assert not (folder / "runs/cut/policy").exists()
    again = train_agent(config, Console(quiet=True), must_exist=True)
    expected, found = (load_file(run / "policy/model.safetensors") for run in (trained, again))
    for name, tensor in expected.items():
        # AdamW turns a gradient that is nothing but rounding noise into a step of a whole learning rate.
        assert (found[name] - tensor).abs().mean() < 1e-6, name
