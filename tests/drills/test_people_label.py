"""A loop waits for people at its desk, without Ray and without engines, is killed meanwhile, and goes on by itself."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genrm_rl.labelling.book import TOKENS
from genrm_rl.preferences.types import content_hash
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest
from tests.annotators import Person, is_open
from tests.drills.driver import Driver

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]

PEOPLE = 3
# How command lines of engines and of Ray's own processes begin.
HEAVY = ("VLLM", "ray::", str(Path(importlib.util.find_spec("ray").origin).parent))
# Of which any judge gives different ones to different answers.
REWARD = ["--policy.reward.greedy", "false", "--policy.reward.rule", "log_odds", "--policy.reward.reference", "policy"]
POOLS = ("judge.rollout", "judge.learner", "policy.rollout", "policy.learner", "policy.judge_rollout")  # of a cluster


def think(annotator: str, task: dict[str, Any]) -> tuple[str, str]:
    """Mostly that the longer answer is better, with a reason; now and then another word."""
    roll = int(content_hash(annotator, task["id"]), 16) % 8
    if roll < 2:
        return ("tie", "skip")[roll], ""
    side = "a" if len(task["a"]) >= len(task["b"]) else "b"
    return side, f"[{side.upper()}] says more"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def guests(run: Path, turn: int, address: str) -> list[Person]:
    """Everybody who has a link to the desk of a turn."""
    tokens = read_json(run / f"turn{turn}/desk" / TOKENS)
    return [Person(name, address, token, think) for name, token in tokens.items()]


def test_the_loop_goes_on_by_itself_when_people_have_labelled(tmp_path: Path, recoveries) -> None:
    """Two turns: killed at the desk of the first; at that of the second it gives Ray back and starts it again."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["loop", "--config", str(Path(__file__).with_name("loop_drill.yaml")), "--labels.source", "people"]
    desk = {"annotators": PEOPLE, "overlap": 0.5, "port": port, "linger": 0.5}
    words += [word for key, value in desk.items() for word in (f"--labels.desk.{key}", str(value))]
    words += [word for role in POOLS for word in (f"--{role}.pool", "null")]
    words += [*REWARD, "--turns", "2"]
    driver = Driver(tmp_path / "runs", "people", words)
    driver.wait_until("the desk", lambda: is_open(address))
    driver.wait_until("a desk without Ray and engines", lambda: not any(map(driver.below, HEAVY)))
    people = guests(driver.run, 1, address)
    for person in people:
        person.work(most=2)
    engines = driver.said("engine 0 ready")
    driver.kill()

    driver = Driver(tmp_path / "runs", "people", words)
    recoveries.wait("driver", "labelling", "the desk", lambda: driver.wait_until("the desk", lambda: is_open(address)))
    assert driver.said("engine 0 ready") == engines, "the desk needs no engine"
    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(Person.work, people))
    driver.wait_until("the labels", lambda: is_complete(driver.run / "turn1/preferences/labels"))
    check_labels(driver.run / "turn1", people)
    second = driver.run / "turn2/desk" / TOKENS
    driver.wait_until("the second desk", lambda: second.is_file() and is_open(address))
    driver.wait_until("a desk without Ray and engines", lambda: not any(map(driver.below, HEAVY)))
    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(Person.work, people := guests(driver.run, 2, address)))
    driver.finish()
    check_labels(driver.run / "turn2", people)
    assert is_complete(driver.run / "turn2/stages/gate")
    assert read_json(driver.run / "loop.json")["status"] == "finished"
    pairs = [lines(driver.run / f"turn{turn}/preferences/labels/pairs.jsonl") for turn in (1, 2)]
    assert read_json(driver.run / "turn2/judge/data.json")["sizes"]["train"] == 60 + sum(map(len, pairs))
    driver.check_nothing_is_left()


def check_labels(turn: Path, people: list[Person]) -> None:
    """What people were told is kept is what the next judge learns from, with their reasons."""
    stage = turn / "preferences/labels"
    facts, pairs = read_manifest(stage), lines(stage / "pairs.jsonl")
    assert facts["source"] == "people" and set(facts["labelled"]) == {"human"}
    said = facts["desk"]["annotators"]
    assert {name: row["labels"] for name, row in said.items()} == {each.name: len(each.kept) for each in people}
    assert facts["desk"]["agreement"]["comparisons"] > 0 and facts["comparisons"] == len(lines(stage / "labels.jsonl"))
    assert {reason for pair in pairs for reason in pair["rationales"]} == {"[chosen] says more"}
    assert facts["reasons"] == sum(len(pair["rationales"]) for pair in pairs)
    offered = lines(turn / "preferences/desk/tasks.jsonl")
    assert any(row["p_a"] is not None for row in offered), "the judge has said of what it is unsure"
