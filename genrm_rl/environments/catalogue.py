"""Which environments there are, what each needs, and its tasks."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments import ftwp, scienceworld, shop, textworld_express, webshop
from genrm_rl.environments.java import java_problem
from genrm_rl.environments.protocol import SPLITS, Environment, Split, SplitSizes, Task
from genrm_rl.errors import ConfigError, EnvironmentProblem


@dataclass(frozen=True)
class EnvironmentSpec:
    """One environment: how it is made, its levels with the sizes of their splits, the longest episode in turns, the
    packages that it needs (an extra of pyproject.toml), and whether it needs Java.

    ``more_levels`` is a regular expression of levels that can be asked for besides; each has as many tasks as the
    first.
    """

    name: str
    summary: str
    make: Callable[[EnvironmentConfig], Environment]
    levels: Mapping[str, SplitSizes]
    max_turns: int
    packages: tuple[str, ...] = ()
    java: bool = False
    more_levels: str = ""

    def sizes(self, split: Split) -> int:
        """Tasks of a split over all levels."""
        return sum(getattr(sizes, split) for sizes in self.levels.values())

    def task(self, split: Split, level: str, index: int) -> Task:
        """One task. Raises ConfigError for a split, level or number that there is not."""
        if split not in SPLITS:
            raise ConfigError(f"{split!r} is no split; choose {', '.join(SPLITS)}")
        size = self._size(level, split)
        if not 0 <= index < size:
            raise ConfigError(
                f"{self.name} has {size} tasks of {level} in {split}, and number {index} is none; count from 0"
            )
        return Task(self.name, split, level, index)

    def tasks(self, split: Split, count: int, level: str | Sequence[str] = "", first: int = 0) -> list[Task]:
        """``count`` tasks of a split, dealt over all levels (or those of ``level``), from the ``first``-th of each on.

        Raises ConfigError if there are not so many.
        """
        wanted = [level] if isinstance(level, str) and level else level
        levels = {name: self._size(name, split) for name in wanted or self.levels}
        found: list[Task] = []
        for index in range(first, max(levels.values())):
            found += [self.task(split, name, index) for name, size in levels.items() if index < size]
            if len(found) >= count:
                return found[:count]
        raise ConfigError(
            f"{self.name} has {len(found)} tasks of {', '.join(wanted) or 'all levels'} in {split} from number "
            f"{first} on; ask for no more instead of {count}"
        )

    def _size(self, level: str, split: Split) -> int:
        if level not in self.levels and not (self.more_levels and re.fullmatch(self.more_levels, level)):
            near = difflib.get_close_matches(level, list(self.levels), n=1, cutoff=0.5)
            listed = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(self.levels)}"
            raise ConfigError(f"{self.name} has no level {level!r}; {listed}")
        return getattr(self.levels.get(level, next(iter(self.levels.values()))), split)


SPECS = {
    spec.name: spec
    for spec in (
        EnvironmentSpec("shop", "synthetic web shop", shop.Shop, shop.LEVELS, 15, ("bm25s",)),
        EnvironmentSpec(
            "textworld-express",
            "cooking and seven other fast text games",
            textworld_express.TextWorldExpress,
            textworld_express.LEVELS,
            100,
            ("textworld-express", "py4j"),
            java=True,
            more_levels=f"({'|'.join(textworld_express.GAMES)}):.+",
        ),
        EnvironmentSpec(
            "ftwp",
            "cooking games of First TextWorld Problems",
            ftwp.Ftwp,
            ftwp.LEVELS,
            100,
            ("textworld", "jericho"),
            more_levels=ftwp.LEVEL.pattern,
        ),
        EnvironmentSpec(
            "scienceworld",
            "30 kinds of science tasks",
            scienceworld.ScienceWorld,
            scienceworld.LEVELS,
            200,
            ("scienceworld", "py4j"),
            java=True,
        ),
        EnvironmentSpec("webshop", "WebShop, from a copy of your own", webshop.WebShop, webshop.LEVELS, 15),
    )
}


def find_environment(name: str) -> EnvironmentSpec:
    """The environment of that name, or what ``module:NAME`` holds, for environments of your own.

    Raises ConfigError if there is none.
    """
    if name in SPECS:
        return SPECS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f"{name!r} is no environment; choose {', '.join(SPECS)}, or your own as module:SPEC")
    try:
        spec = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise ConfigError(f"{name} can't be imported: {problem}") from None
    if not isinstance(spec, EnvironmentSpec):
        raise ConfigError(f"{name} is no EnvironmentSpec but {type(spec).__name__}")
    return spec


def environment_problem(spec: EnvironmentSpec) -> str | None:
    """What this machine lacks for an environment, with the cure, in one sentence; None if nothing."""
    missing = [package for package in spec.packages if not _is_installed(package)]
    if missing:
        return f"{spec.name} needs {' and '.join(missing)}: run `make setup`, which installs its extra [{spec.name}]"
    problem = java_problem() if spec.java else None
    return None if problem is None else f"{spec.name} needs Java: {problem}"


def check_environment(spec: EnvironmentSpec) -> None:
    """Raises EnvironmentProblem for what this machine lacks."""
    if problem := environment_problem(spec):
        raise EnvironmentProblem(problem)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
