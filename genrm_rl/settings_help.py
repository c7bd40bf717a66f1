"""What `--help SECTION` prints: the settings of a command's configuration, with default, unit and meaning.

Our own because pydantic-settings, tyro and jsonargparse print every setting of a command at once, without its unit.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from genrm_rl.cli_examples import examples
from genrm_rl.config import RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section
from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.labelling import LabelConfig
from genrm_rl.config.loading import describe
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.config.watching import WatchConfig
from genrm_rl.errors import ConfigError

SETTINGS: dict[str, type[Section]] = {
    "quickstart": LoopConfig,
    "bootstrap": RunConfig,
    "evaluate": RunConfig,
    "benchmark": RunConfig,
    "best-of": RunConfig,
    "serve": ServeConfig,
    "align": AlignConfig,
    "loop": LoopConfig,
    "clone-agent": AgentConfig,
    "train-agent": AgentConfig,
    "evaluate-agent": AgentConfig,
    "collect-episodes": AgentConfig,
    "agent-pairs": AgentConfig,
    "train-step-judge": AgentConfig,
    "plan": AlignConfig,
    "label": LabelConfig,
    "watch": WatchConfig,
    "play": EnvironmentConfig,
    "doctor": RunConfig,
    "models": RunConfig,
}
HELP, EVERY = "--help", "all"


def epilog(command: str) -> str:
    """The last lines of a command's `--help`: examples, how its settings are set, and where they are explained."""
    if command not in SETTINGS:
        return examples(command)
    names = ", ".join(SETTINGS[command].model_fields)
    return f"{examples(command)}\n\n" + (
        f"Every setting of the configuration can be given as --section.key value, e.g. --run.id try. "
        f"`genrm-rl {command} --help SECTION` explains those of a section, with units and defaults; sections: {names}, "
        f"or {EVERY}."
    )


def asks_for_settings(words: Sequence[str]) -> bool:
    """True for a command line like ``align --help ppo``, whatever stands before ``--help``."""
    return bool(words) and words[0] in SETTINGS and HELP in words[1:-1]


def print_settings(words: Sequence[str], console: Console) -> None:
    """The settings of the sections that ``words`` (``align --help ppo``) name. Raises ConfigError for one that the
    command does not have, with the nearest."""
    command, sections = words[0], words[words.index(HELP) + 1 :]
    rows = describe(SETTINGS[command]())
    for section in sections:
        wanted = section.strip("-").replace("-", "_")
        found = [row for row in rows if wanted == EVERY or f"{row[0]}.".startswith(f"{wanted}.")]
        if not found:
            raise ConfigError(f"{command} has no settings {section!r}{_nearest(wanted, [row[0] for row in rows])}")
        named = [(f"--{key.replace('_', '-')}", *row) for key, *row in found]
        console.print(list_of_settings(named, f"{command}: {section}, with defaults"))


def list_of_settings(rows: Sequence[tuple[str, ...]], title: str) -> Group:
    """Rows (setting, value, unit, meaning), whole at any width."""
    lines: list[Text | Padding] = [Text(title, style="bold")]
    for key, value, unit, meaning in rows:
        lines.append(Text.assemble((key, "cyan"), " ", value, *([f" {unit}"] if unit else [])))
        lines.append(Padding(Text(meaning, style="dim"), (0, 0, 0, 4), expand=False))
    return Group(*lines)


def _nearest(wanted: str, keys: Sequence[str]) -> str:
    known = dict.fromkeys(".".join(key.split(".")[:depth]) for key in keys for depth in range(1, key.count(".") + 2))
    near = difflib.get_close_matches(wanted, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(k for k in known if '.' not in k)}"
