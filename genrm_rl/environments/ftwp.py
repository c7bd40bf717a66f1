"""First TextWorld Problems (https://aka.ms/ftwp): cooking games made by TextWorld as `tw-make tw-cooking` makes them.

A level is what the challenge calls the skills of a game, in its own words: ``recipe3+take3+open+cook+cut+drop+go6`` is
a recipe of three ingredients, all to be fetched, with doors and containers to be opened, cooking and cutting, a limited
inventory, and six rooms. The splits are the challenge's: validation and test have ingredients of their own, and
ingredients of the training games in preparations that training never shows.

A game is made once, from its level, split and index alone, and kept in ``EnvironmentConfig.cache_dir``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.ftwp_maker import GameMaker
from genrm_rl.environments.protocol import Admissible, Observation, Outcome, SplitSizes, Task
from genrm_rl.errors import ConfigError
from genrm_rl.judging.requests import derive_seed
from genrm_rl.runtime.storage import is_complete, publish_directory

SIZES = SplitSizes(100, 20, 20)
# Ten levels of rising difficulty as of GATA (arXiv 2002.09127), then two with everything that the challenge has.
LADDER = (
    "recipe1+take1+go1",
    "recipe1+take1+cook+go1",
    "recipe1+take1+cut+go1",
    "recipe1+take1+go6",
    "recipe1+take1+go9",
    "recipe1+take1+go12",
    "recipe1+take1+cook+cut+go1",
    "recipe3+take3+go6",
    "recipe3+take3+cook+cut+go6",
    "recipe3+take3+cook+cut+go12",
    "recipe3+take3+open+cook+cut+drop+go6",
    "recipe5+take5+open+cook+cut+drop+go12",
)
LEVELS = dict.fromkeys(LADDER, SIZES)
LEVEL = re.compile(r"recipe([1-5])(?:\+take([0-5]))?((?:\+(?:open|cook|cut|drop))*)\+go(1|6|9|12)")
SPLIT_NAMES = {"train": "train", "validation": "valid", "test": "test"}
SKILLS = ("open", "cook", "cut", "drop")
GAME = "game.z8"
PROMPT = re.compile(r"\n*>\s*(-=.*)?$")  # what the interpreter prints before it reads, with its status line


class Ftwp:
    """One cooking game at a time, played by TextWorld's interpreter. Draws nothing besides its tasks."""

    def __init__(self, config: EnvironmentConfig) -> None:
        self._cache = Path(config.cache_dir).expanduser()
        self._maker = GameMaker()
        self._game: Any = None
        self._state: Any = None

    def reset(self, task: Task, seed: int) -> Observation:
        """Makes the game if it is not kept yet, which takes from seconds to a minute."""
        import textworld

        self._forget()
        wanted = textworld.EnvInfos(
            admissible_commands=True, objective=True, verbs=True, won=True, lost=True, score=True, max_score=True,
            extras=["walkthrough"],
        )  # fmt: skip
        self._game = textworld.start(str(provide_game(task, self._cache, self._maker)), wanted)
        self._state = self._game.reset()
        # The banner and the objective stand before the first room's name.
        text = self._state.feedback
        return self._told(text[text.index("-= ") :] if "-= " in text else text)

    def step(self, action: str) -> tuple[Observation, bool]:
        """Only what begins with a verb of cooking games reaches the interpreter, which also knows `quit` and `save`."""
        if action.partition(" ")[0] not in self._state.verbs:
            return self._told("That's not a verb I recognise."), False
        self._state, _, done = self._game.step(action)
        return self._told(self._state.feedback), done

    @property
    def outcome(self) -> Outcome:
        """The game's points as a share of the possible ones."""
        return Outcome(bool(self._state.won), (self._state.score or 0) / self._state.max_score)

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...]:
        """The walkthrough of the game's maker."""
        self.reset(task, seed)
        return tuple(self._state["extra.walkthrough"])

    def process_ids(self) -> tuple[int, ...]:
        """The maker of games; the interpreter is a library."""
        return self._maker.process_ids

    def close(self) -> None:
        """End the maker and forget the game."""
        self._maker.close()
        self._forget()

    def _forget(self) -> None:
        if self._game is not None:
            self._game.close()
            self._game = None

    def _told(self, text: str) -> Observation:
        actions = tuple(self._state.admissible_commands)
        return Observation(PROMPT.sub("", text).strip(), self._state.objective, Admissible(actions))


def provide_game(task: Task, cache: Path, maker: GameMaker) -> Path:
    """The file of a task's game, made now if it is not kept yet.

    Raises ConfigError for a level that is none, EnvironmentFailure if the game can't be made.
    """
    settings = maker_settings(task)
    folder = cache / f"{task.split}-{task.level}" / str(task.index)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not is_complete(folder):
            with publish_directory(folder, {"task": task.task_id}) as unfinished:
                maker.make(settings, derive_seed("ftwp", task.split, task.level, task.index), unfinished / GAME)
    return folder / GAME


def maker_settings(task: Task) -> dict[str, Any]:
    """The options of `tw-make tw-cooking` for a task, besides the seed. Raises ConfigError for a level that contradicts
    itself."""
    found = LEVEL.fullmatch(task.level)
    assert found is not None
    recipe, take, skills, rooms = found.groups()
    if int(take or 0) > int(recipe):
        raise ConfigError(f"{task.level}: take {take} is more than the {recipe} ingredients of the recipe")
    return {
        "recipe": int(recipe),
        "take": int(take or 0),
        "go": int(rooms),
        **{skill: skill in skills.split("+") for skill in SKILLS},
        "recipe_seed": 0,
        "split": SPLIT_NAMES[task.split],
    }
