"""`genrm-rl watch`: what it sees of a run that goes on, when it gives an alarm, and whom it shows anything."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path

import httpx
import pytest

from genrm_rl.config.watching import AlarmConfig, WatchConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.evaluation.alarms import probe_alarms, step_alarms
from genrm_rl.evaluation.glossary import NULL_ANSWERS, WORLD_SETS
from genrm_rl.pages.live import Watcher, stall_alarms
from genrm_rl.pages.runs import page_of
from genrm_rl.pages.server import watch_app
from genrm_rl.preferences.nulls import NULLS
from genrm_rl.preferences.world.pairs import PAIR_SETS
from genrm_rl.runtime.status import RunStatus
from genrm_rl.runtime.storage import read_json, write_json
from tests.unit import run_examples
from tests.unit.run_examples import step


def status(**changes: object) -> RunStatus:
    fields = {"path": Path("r"), "provenance": {}, "driver": "1", "result": None, "stages": [], "last_write": 0.0}
    return RunStatus(**(fields | changes))


def ask(watcher: Watcher, path: str, **headers: str) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(watch_app(watcher, "secret"))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(call())


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Watcher:
    root = tmp_path_factory.mktemp("watched")
    run_examples.alignment(root / "run")
    return Watcher("run", str(root), WatchConfig())


def test_without_the_token_of_the_link_nothing_is_shown(watcher):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        answer = ask(watcher, "/api/look", **headers)
        assert answer.status_code == 401 and "html" not in answer.json()
    assert "alignment" not in ask(watcher, "/").text, "the page itself holds nothing"


def test_a_page_of_somebody_else_that_calls_by_another_name_is_refused(watcher):
    assert ask(watcher, "/", Host="evil.example").status_code == 421


def test_a_page_that_did_not_change_is_not_sent_again(watcher):
    token = {"Authorization": "Bearer secret"}
    first = ask(watcher, "/api/look", **token).json()
    assert "Policy alignment" in first["html"] and "step 3 of" in first["state"]
    again = ask(watcher, f"/api/look?have={first['version']}", **token).json()
    assert again["html"] is None and again["version"] == first["version"]


@pytest.mark.parametrize("within", ["../run", "/etc", "steps/00000", "nothing"])
def test_only_runs_within_the_run_have_a_page(watcher, within):
    assert ask(watcher, f"/api/look?run={within}", Authorization="Bearer secret").status_code == 404


def test_a_bootstrap_is_shown_from_its_stages_until_its_report_is_there(tmp_path):
    run = run_examples.unfinished_bootstrap(tmp_path / "run")
    now = [0.0]
    watcher = Watcher(str(run), str(tmp_path), WatchConfig(), clock=lambda: now[0])
    assert "1 stage is finished" in watcher.look().html
    run_examples.bootstrap(run)
    now[0] += 60
    seen = watcher.look()
    assert "Who judges better?" in seen.html and seen.state == "Finished."


def test_an_evaluation_shows_its_accuracy_beside_what_it_has_to_beat(tmp_path):
    seen = Watcher(str(run_examples.evaluated(tmp_path / "run")), str(tmp_path), WatchConfig()).look()
    assert "Judge evaluation" in seen.html and "STaR-DPO, decoded greedily, judges 87.5\xa0% [" in seen.html
    assert "Without a language model: Longer answer 100.0\xa0% [85.8, 100.0]." in seen.html
    assert "STaR-DPO does not beat the longer answer in 1 of 1 comparisons" in seen.html
    assert seen.state == "Finished."


def test_a_benchmark_shows_its_own_headline_first(tmp_path):
    html = page_of(run_examples.evaluated(tmp_path / "run", "rewardbench2"), AlarmConfig()).html
    headlines = re.findall('<p class="headline">(.*?)</p>', html)
    assert headlines[0].startswith("RewardBench 2: 75.0 (mean of the subsets); both orders agree on ")
    assert "judges 87.5" in headlines[1]


def test_a_best_of_n_shows_how_many_have_a_best_answer_and_which(tmp_path):
    run = run_examples.best_of(tmp_path / "run")
    html = page_of(run, AlarmConfig()).html
    assert "By star_dpo-1: 1 of 2 prompts have a best answer, mean margin 0.25; the first place is shared in 0" in html
    assert html.index("<b>best</b> &lt;img") and "not judged" in html and run_examples.HOSTILE not in html


@pytest.mark.parametrize(("command", "title"), [("evaluate", "Judge evaluation"), ("best-of", "Best of n")])
def test_a_measurement_that_goes_on_is_not_called_a_bootstrap(tmp_path, command, title):
    run = run_examples.unfinished_bootstrap(tmp_path / "run")
    facts = read_json(run / "provenance.json") | {"command": f"genrm-rl {command} llm_judge --run.id bootstrap"}
    write_json(run / "provenance.json", facts)
    html = page_of(run, AlarmConfig()).html
    assert f"<h1>{title}, under way</h1>" in html and "1 stage is finished; the figures come at the end." in html


def test_watching_writes_nothing(tmp_path):
    run = run_examples.alignment(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    Watcher(str(run), str(tmp_path), WatchConfig()).look()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_run_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    run_examples.alignment(tmp_path / "here")
    with pytest.raises(RunDirectoryError, match="there are: here"):
        Watcher("gone", str(tmp_path), WatchConfig())


def test_steps_give_alarms_for_what_is_wrong_and_for_nothing_else():
    config = AlarmConfig()
    assert step_alarms([step(0), step(2)], config) == []
    found = step_alarms(
        [
            step(0, **{"reward/masked_share": 0.5}),
            step(1, **{"train/kl_reference": 0.75, "reward/masked_share": 0.0}),
            step(2, **{"train/loss": math.nan}),
            step(3, **{"train/skipped_updates": 1.0, "train/empty": 1.0}),
        ],
        config,
    )
    expected = (
        "step 1 have none; most in step 1 (50.0 %)",
        "step 2, at most 0.750",
        "Not finite in step 3: train/loss",
    )
    for sentence, words in zip(found, (*expected, "skipped in step 4", "learned in step 4"), strict=True):
        assert words in sentence


def test_a_null_answer_gives_the_alarm_only_over_the_limit():
    assert probe_alarms({"empty": (1, 20), "opener": (0, 0)}, 0.05, "the policy") == []
    (said,) = probe_alarms({"empty": (2, 20), "opener": (9, 20)}, 0.05, "the policy")
    assert "opener 9 of 20, empty 2 of 20" in said


@pytest.mark.parametrize(
    ("changes", "now", "words"),
    [
        ({}, 599.0, None),
        ({}, 601.0, "written nothing for 10"),
        ({"step_seconds": 300.0}, 1200.0, None),  # five steps of five minutes are no stall
        ({"driver": None}, 1.0, "Nobody drives the run"),
        ({"driver": None, "result": "report.html"}, 9999.0, None),
    ],
)
def test_a_stall_is_silence_of_a_run_that_is_not_finished(changes, now, words):
    found = stall_alarms(status(**changes), AlarmConfig(), now)
    assert (words in found[0]) if words else found == []


def test_every_shipped_name_is_explained():
    assert set(NULLS) <= set(NULL_ANSWERS)
    assert set(PAIR_SETS) <= set(WORLD_SETS)
