"""Environments keep their protocol: known solutions solve them, splits share nothing, failures have no outcome."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.environments import java
from genrm_rl.environments.catalogue import SPECS, environment_problem, find_environment
from genrm_rl.environments.episodes import Episode, MakePolicy, gold, play_episode, uniform
from genrm_rl.environments.ftwp import maker_settings
from genrm_rl.environments.protocol import (
    LONGEST_ACTION,
    SPLITS,
    Admissible,
    Environment,
    EnvironmentFailure,
    Task,
    clean_action,
)
from genrm_rl.environments.shop import Shop, reward, type_reward
from genrm_rl.environments.shop_catalogue import Goal, Product, make_catalogue, make_goal
from genrm_rl.errors import ConfigError, EnvironmentProblem

ROOT = Path(__file__).parents[2]
CONFIG = EnvironmentConfig()


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, with the reason, where an environment's packages or Java are missing."""
    problem = environment_problem(SPECS[name])
    return pytest.mark.skipif(problem is not None, reason=problem or "")


@contextmanager
def made(name: str, config: EnvironmentConfig = CONFIG) -> Iterator[Environment]:
    environment = SPECS[name].make(config)
    try:
        yield environment
    finally:
        environment.close()


def seen(episode: Episode) -> list[tuple[str, str]]:
    return [(turn.observation.text, turn.action) for turn in episode.turns]


def replay(episode: Episode) -> MakePolicy:
    """The actions of an episode once more."""
    actions = iter([turn.action for turn in episode.turns])
    return lambda environment, task, seed: lambda observation: next(actions, None)


def test_tasks_are_dealt_over_the_levels_and_a_number_beyond_a_split_is_refused():
    spec = SPECS["scienceworld"]
    assert [task.level for task in spec.tasks("test", 31)][:2] == list(spec.levels)[:2]
    assert [task.level for task in spec.tasks("test", 3, ["melt", "boil"])] == ["melt", "boil", "melt"]
    assert len({task.task_id for task in spec.tasks("validation", 200)}) == 200
    with pytest.raises(ConfigError, match="number 9 is none; count from 0"):
        spec.task("test", "boil", 9)
    with pytest.raises(ConfigError, match="1819 tasks of all levels in test"):
        spec.tasks("test", 10_000)


@given(st.text())
def test_any_text_becomes_one_short_line_that_can_be_encoded(text):
    cleaned = clean_action(text)
    assert len(cleaned) <= LONGEST_ACTION
    assert cleaned.splitlines() in ([], [cleaned])
    cleaned.encode("utf-8")


def test_a_grammar_accepts_its_actions_and_frames_and_nothing_around_them():
    grammar = Admissible(("click[a.b]",), (("search[", "]"),))
    assert grammar.accepts("click[a.b]") and grammar.accepts("search[red shoes]")
    assert not any(map(grammar.accepts, ("click[axb]", "search[]", "search[a]]", "search[a\nb]", "click[a.b] ")))


class Failing(Shop):
    """A shop that breaks at its second step."""

    def step(self, action):
        if self._page.name != "search":
            raise EnvironmentFailure("broke", "on purpose")
        return super().step(action)


def test_an_environment_that_fails_leaves_an_episode_without_outcome():
    episode = play_episode(Failing(CONFIG), gold, SPECS["shop"].task("test", "all", 0), 0, 15)
    assert (episode.end, episode.outcome, episode.failure) == ("environment_failed", None, "broke: on purpose")
    assert len(episode.turns) == 1


def test_an_episode_that_reaches_its_last_turn_has_the_outcome_so_far():
    episode = play_episode(Shop(CONFIG), gold, SPECS["shop"].task("test", "all", 0), 0, 2)
    assert episode.end == "turn_limit"
    assert episode.outcome is not None and not episode.outcome.success


def test_gold_actions_buy_what_is_wanted_in_fifty_test_goals_and_random_ones_do_not():
    shop = Shop(CONFIG)
    tasks = SPECS["shop"].tasks("test", 50)
    assert all(play_episode(shop, gold, task, 0, 15).outcome.success for task in tasks)
    assert sum(play_episode(shop, uniform, task, 0, 15).outcome.success for task in tasks) < 10


def test_the_shops_solutions_can_be_known_from_what_is_seen():
    """A policy that clones them could not guess a title that it has not seen."""
    shop = Shop(CONFIG)
    for task in SPECS["shop"].tasks("train", 50):
        seen = shop.reset(task, 0)
        search, *clicks = shop.gold_actions(task, 0)
        words = search.removeprefix("search[").removesuffix("]").split()
        assert set(words) <= set(re.findall(r"[\w-]+", seen.goal.lower()))
        for action in [search, *clicks]:
            assert seen.admissible.accepts(action)
            seen, _ = shop.step(action)
        assert shop.outcome.success


def test_goals_of_different_splits_want_different_products():
    catalogue = make_catalogue(CONFIG.shop.products, CONFIG.shop.seed)
    wanted = {split: {make_goal(catalogue, split, i, 0).product.code for i in range(200)} for split in SPLITS}
    assert not wanted["train"] & wanted["test"] and not wanted["validation"] & (wanted["train"] | wanted["test"])


def test_what_can_not_be_clicked_changes_nothing():
    shop = Shop(CONFIG)
    before = shop.reset(SPECS["shop"].task("test", "all", 0), 0)
    after, done = shop.step("click[buy now]")
    assert not done and after.admissible == before.admissible
    assert after.text.endswith(before.text)


def test_the_reward_is_the_published_one():
    def product(title: str, kind: str, attributes: set[str], price: float) -> Product:
        return Product("p", kind, title, frozenset(attributes), {"color": ("red", "blue")}, price)

    wanted = product("Acme vegan lip balm", "lip balm", {"vegan", "travel size"}, 9.0)
    goal = Goal(wanted, frozenset({"vegan", "travel size"}), frozenset({"red"}), 10.0)
    assert reward(goal, wanted, frozenset({"red"})) == 1.0
    assert reward(goal, wanted, frozenset({"blue"})) == 3 / 4  # the option is wrong
    dear = product("Acme vegan lip balm", "lip balm", {"vegan"}, 11.0)
    assert reward(goal, dear, frozenset({"red"})) == 2 / 4  # one attribute and the option of four points
    other = product("Acme frying pan", "frying pan", {"vegan"}, 9.0)
    assert type_reward(wanted, other) == 1.0  # a quarter of the words
    assert type_reward(product("a b c d e", "x", set(), 1), product("a f g", "y", set(), 1)) == 0.5
    assert type_reward(product("a b c d e f g h i j k", "x", set(), 1), product("a", "y", set(), 1)) == 0.1
    assert reward(goal, product("Steel frying pan", "frying pan", {"vegan"}, 9.0), frozenset({"red"})) == 0.0


@needs("textworld-express")
def test_textworld_express_is_solved_by_its_gold_actions_and_repeats_itself():
    with made("textworld-express") as environment:
        tasks = SPECS["textworld-express"].tasks("test", 8)
        episodes = [play_episode(environment, gold, task, 0, 100) for task in tasks]
        assert all(episode.outcome.success and episode.outcome.score == 1.0 for episode in episodes)
        # Of several solutions its generator may name another one the next time; the game itself repeats.
        assert seen(play_episode(environment, replay(episodes[1]), tasks[1], 0, 100)) == seen(episodes[1])
        lost = play_episode(environment, uniform, tasks[0], 0, 20)
        assert not lost.outcome.success and 0.0 <= lost.outcome.score < 1.0
        with pytest.raises(ConfigError, match="no game"):
            environment.reset(Task("textworld-express", "test", "chess", 0), 0)


@needs("scienceworld")
def test_a_scienceworld_task_is_solved_by_its_gold_actions_and_its_splits_are_as_listed():
    with made("scienceworld") as environment:
        level = "find-non-living-thing"
        episode = play_episode(environment, gold, SPECS["scienceworld"].task("test", level, 0), 0, 200)
        assert episode.outcome.success
        assert environment.sizes(level) == SPECS["scienceworld"].levels[level]


@needs("ftwp")
def test_a_cooking_game_is_made_once_and_solved_by_its_walkthrough(tmp_path):
    config = EnvironmentConfig(cache_dir=str(tmp_path))
    task = SPECS["ftwp"].task("test", "recipe1+go1", 0)
    with made("ftwp", config) as environment:
        episode = play_episode(environment, gold, task, 0, 100)
        assert episode.outcome.success
        (game,) = tmp_path.rglob("*.z8")
        stamp = game.stat().st_mtime_ns
        environment.reset(task, 0)
        assert game.stat().st_mtime_ns == stamp
        observation, done = environment.step("quit")  # the interpreter would ask whether one is sure, and wait
        assert not done and "verb" in observation.text
        assert not environment.step("inventory")[1]


def test_a_level_that_there_is_not_or_that_contradicts_itself_is_told():
    with pytest.raises(ConfigError, match="no level 'recipe9.go1'"):
        SPECS["ftwp"].task("test", "recipe9+go1", 0)
    with pytest.raises(ConfigError, match="take 2 is more than the 1"):
        maker_settings(SPECS["ftwp"].task("test", "recipe1+take2+go6", 0))


@needs("textworld-express")
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_java_does_not_outlive_the_process_that_started_it(stopped):
    code = (
        "import time\nfrom genrm_rl.environments.catalogue import SPECS\n"
        "from genrm_rl.config.environments import EnvironmentConfig\n"
        "environment = SPECS['textworld-express'].make(EnvironmentConfig())\n"
        "print(*environment.process_ids(), flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    program = psutil.Process(int(parent.stdout.readline()))
    if stopped:
        program.suspend()
    parent.kill()
    parent.wait()
    while program.is_running() and program.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)


def test_a_missing_package_and_a_missing_java_are_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr("genrm_rl.environments.catalogue._is_installed", lambda package: package != "textworld")
    assert environment_problem(SPECS["ftwp"]).startswith("ftwp needs textworld: run `make setup`")
    monkeypatch.setattr("genrm_rl.environments.catalogue._is_installed", lambda package: True)
    monkeypatch.setenv("PATH", "")
    assert "no `java` on the PATH; install Java 17" in environment_problem(SPECS["scienceworld"])


def test_an_old_java_is_told(monkeypatch, tmp_path):
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "is no Java 17" in java.java_problem()


STAND_IN = '''
class WebAgentTextEnv:
    """Two pages with the interface of the published engine."""
    def __init__(self, observation_mode, num_products):
        print("loading")
        self.server = type("Server", (), {"goals": [0] * 501})()
    def reset(self, session):
        self.page, self.instruction_text = "search", f"goal {session}"
    def step(self, action):
        if action == "click[crash]":
            raise SystemExit(3)
        self.page = "item" if action.startswith("search") else "end"
        return self.page, 0.5 if self.page == "end" else 0.0, self.page == "end", None
    @property
    def observation(self):
        return self.page
    def get_available_actions(self):
        searching = self.page == "search"
        return {"has_search_bar": searching, "clickables": ["search" if searching else "buy now"]}
'''


@pytest.fixture
def own_webshop(tmp_path):
    """A folder that looks like a user's copy of WebShop."""
    package = tmp_path / "web_agent_site" / "envs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (tmp_path / "web_agent_site" / "__init__.py").touch()
    return load_config(EnvironmentConfig, None, ["--webshop.root", str(tmp_path), "--webshop.python", sys.executable])


def test_a_users_webshop_is_played_in_its_own_process_and_its_end_is_a_failure(own_webshop):
    with made("webshop", own_webshop) as environment:
        first = environment.reset(SPECS["webshop"].task("validation", "all", 0), 0)
        assert (first.goal, first.admissible) == ("goal 500", Admissible((), (("search[", "]"),)))
        second, done = environment.step("search[shoes]")
        assert second.admissible.actions == ("click[buy now]",) and not done
        assert environment.step("click[buy now]")[1] and environment.outcome.score == 0.5
        with pytest.raises(EnvironmentProblem, match="goal 1500"):
            environment.reset(SPECS["webshop"].task("train", "all", 0), 0)
        with pytest.raises(EnvironmentFailure, match="died"):
            environment.step("click[crash]")


def test_webshop_without_a_copy_says_what_to_name():
    with pytest.raises(EnvironmentProblem, match=r"webshop\.root '' holds no web_agent_site"):
        SPECS["webshop"].make(CONFIG)


def test_an_environment_that_there_is_not_is_told_with_the_others():
    with pytest.raises(ConfigError, match="'chess' is no environment; choose shop"):
        find_environment("chess")
    with pytest.raises(ConfigError, match="can't be imported"):
        find_environment("no_such_module:SPEC")


def test_the_environment_of_the_documentation_works(monkeypatch):
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# countdown\.py\n.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 50
    assert code == (ROOT / "tests/agents/countdown.py").read_text(encoding="utf-8")
    monkeypatch.syspath_prepend(str(ROOT / "tests/agents"))
    spec = find_environment("countdown:SPEC")
    environment = spec.make(CONFIG)
    for split in SPLITS:
        task = spec.tasks(split, 1)[0]
        assert play_episode(environment, gold, task, 0, spec.max_turns).outcome.success
