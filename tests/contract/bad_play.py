"""What can't be played, one function each."""

from __future__ import annotations

from pathlib import Path

from tests.contract.bad_input_files import BadInput


def environment_that_does_not_exist(folder: Path) -> BadInput:
    return BadInput(["play", "chess"], ("'chess' is no environment",), "choose shop, textworld-express, ftwp")


def policy_that_does_not_exist(folder: Path) -> BadInput:
    return BadInput(["play", "shop", "--policy", "best"], ("--policy best",), "choose gold, random, human")


def level_that_the_environment_does_not_have(folder: Path) -> BadInput:
    words = ["play", "scienceworld", "--policy", "gold", "--level", "boiling"]
    return BadInput(words, ("scienceworld has no level 'boiling'",), "did you mean boil?")


def more_episodes_than_tasks(folder: Path) -> BadInput:
    words = ["play", "shop", "--policy", "gold", "--split", "validation", "--episodes", "201"]
    return BadInput(words, ("200 tasks of all levels in validation", "201"), "ask for no more")


def webshop_without_a_copy(folder: Path) -> BadInput:
    return BadInput(["play", "webshop"], ("webshop.root '' holds no web_agent_site",), "or play `shop`")


PLAY_KINDS = (
    environment_that_does_not_exist,
    policy_that_does_not_exist,
    level_that_the_environment_does_not_have,
    more_episodes_than_tasks,
    webshop_without_a_copy,
)
