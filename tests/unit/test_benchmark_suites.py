"""Small files as each benchmark publishes them, a judge whose verdicts are known, and headlines counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from genrm_rl.errors import ConfigError, DataError
from genrm_rl.evaluation import suites
from genrm_rl.evaluation.benchmark import benchmark_config
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import JudgmentRecord, record_from_probability
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.scoring import check_scoring, whole_items
from genrm_rl.evaluation.suites import SUITES
from genrm_rl.judging.judge import Judge
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import PreferencePair

JUDGE = Judge("judge", "generative", Path("judge"), "judge-1")
# What each answer is worth to the judge; of two that are worth the same, it names the one shown first.
WORTH = {"gold": 3, "silver": 2, "bronze": 1, "copper": 1}


def worth(answer: str) -> int:
    return WORTH[answer.strip("*").split()[-1]]


def judged(pair: PreferencePair, suite: str) -> JudgmentRecord:
    """Both orders of a judge that is right about worth, and sees the first answer where there is nothing to see."""
    shown = pair.comparison()
    a, b = worth(shown.response_a), worth(shown.response_b)
    p = (0.9, 0.8) if a > b else (0.1, 0.2) if a < b else (0.9, 0.1)
    return record_from_probability(pair, *p, judge="judge", test_set=suite, judge_version="judge-1", prompt_tokens=40)


def measured(folder: Path, suite: str, rows: list[dict], *words: str) -> ResultRow:
    """Read as the command reads them, judged, and scored."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = benchmark_config(suite, "llm_judge", [folder / "rows.jsonl"], None, words)
    pairs = whole_items(load_sources(config.data, 0).test[suite], config.evaluation.pairs)
    check_scoring(suite, pairs, config.evaluation.scoring)
    records = [judged(pair, suite) for pair in pairs]
    return summarise(records, resamples=100, scoring=config.evaluation.scoring)


def asked(number: int) -> str:
    return f"question {number} about metals of the {'abcdefgh'[number]} kind"


def pair(number: int, chosen: str, rejected: str, **more: object) -> dict:
    return {"prompt": asked(number), "chosen": chosen, "rejected": rejected, **more}


REWARDBENCH = [  # Chat 1/2 (two subsets of one), Safety 1, so 75.0
    pair(0, "gold", "silver", subset="alpacaeval-easy"),
    pair(1, "bronze", "silver", subset="mt-bench-med"),
    pair(2, "silver", "bronze", subset="donotanswer"),
]
REWARDBENCH2 = [  # Math: one of two; Focus: the first place shared by two; so (0.5 + 0.5) / 2
    {"id": "1", "prompt": asked(0), "chosen": ["gold"], "rejected": ["silver", "bronze", "copper"], "num_correct": 1,
     "num_incorrect": 3, "subset": "Math"},
    {"id": "2", "prompt": asked(1), "chosen": ["bronze"], "rejected": ["silver", "copper", "gold"], "num_correct": 1,
     "num_incorrect": 3, "subset": "Math"},
    {"id": "3", "prompt": asked(2), "chosen": ["bronze"], "rejected": ["copper"], "num_correct": 1,
     "num_incorrect": 1, "subset": "Focus"},
]  # fmt: skip
TIES = [  # every good answer beats every bad one by the same margin: 0.3 + 0.3 + 0.2 + 0.2 + 0.01
    {"id": "ref:1", "prompt": asked(3), "chosen": ["gold"], "rejected": ["bronze", "copper"], "num_correct": 1,
     "num_incorrect": 2, "subset": "Ties"},
    {"id": "tied:1", "prompt": asked(4), "chosen": ["gold", "a gold"], "rejected": ["bronze", "silver"],
     "num_correct": 2, "num_incorrect": 2, "subset": "Ties"},
]  # fmt: skip
RM_BENCH = [  # chat: all nine; math: the good answers gold, silver, bronze against silver three times: 3, 0, 0 of 9
    {"id": "1", "prompt": asked(0), "chosen": ["gold", "a gold", "**gold**"], "rejected": ["bronze", "a bronze",
     "**bronze**"], "domain": "chat"},
    {"id": "2", "prompt": asked(1), "chosen": ["gold", "silver", "bronze"], "rejected": ["a silver", "the silver",
     "**silver**"], "domain": "math"},
]  # fmt: skip
JUDGEBENCH = [  # two of four: the third contradicts itself, the fourth is wrong
    {"pair_id": f"p{n}", "source": source, "question": asked(n), "response_A": a, "response_B": b, "label": label}
    for n, (source, a, b, label) in enumerate(
        [("mmlu-pro-math", "gold", "silver", "A>B"), ("mmlu-pro-law", "bronze", "silver", "B>A"),
         ("livecodebench", "bronze", "copper", "A>B"), ("livecodebench", "gold", "silver", "B>A")]
    )
]  # fmt: skip
RMB = [  # Helpfulness: one of two, the other beats only one of its two losers; Harmlessness: one of one
    {"bon_uid": f"b{n}", "category_path": f"BoN_set/{goal}/x", "conversation_input": [{"role": "user",
     "content": asked(n)}], "bon_best": {"answer": best}, "loser_list": [{"answer": one} for one in losers]}
    for n, (goal, best, losers) in enumerate(
        [("Helpfulness", "gold", ["silver", "bronze"]), ("Helpfulness", "silver", ["gold", "bronze"]),
         ("Harmlessness", "gold", ["copper"])]
    )
]  # fmt: skip
PPE = [  # one right, one contradiction that counts one half: 75.0
    {"question_id": "q1", "prompt": asked(0), "response_1": "gold", "response_2": "silver", "scores": [True, False],
     "conflict_pairs": [[0, 1]]},
    {"question_id": "q2", "prompt": asked(1), "response_1": "copper", "response_2": "bronze", "scores": [True, False],
     "conflict_pairs": [[0, 1]]},
]  # fmt: skip
PANDALM = [  # first right, second right, tie right, tie called first, first called tie: three of five
    {"instruction": asked(n), "input": "", "response1": a, "response2": b, "annotator1": said[0],
     "annotator2": said[1], "annotator3": said[2]}
    for n, (a, b, said) in enumerate(
        [("gold", "silver", (1, 1, 0)), ("bronze", "silver", (2, 2, 2)), ("bronze", "copper", (0, 0, 1)),
         ("gold", "silver", (0, 1, 2)), ("bronze", "copper", (1, 1, 1))]
    )
]  # fmt: skip
AUTO_J = [  # agreement needs both orders: right, wrong, a tie whose orders contradict each other and do not say tie
    {"scenario": scenario, "label": label, "prompt": asked(n), "response 1": a, "response 2": b}
    for n, (scenario, label, a, b) in enumerate(
        [("chitchat", 0, "gold", "silver"), ("arithmetic", 1, "gold", "silver"), ("chitchat", 2, "bronze", "copper")]
    )
]  # fmt: skip
BY_HAND: dict[str, tuple[list[dict], float]] = {
    "rewardbench": (REWARDBENCH, 0.75), "rewardbench2": (REWARDBENCH2, 0.5), "rm_bench": (RM_BENCH, 2 / 3),
    "judgebench": (JUDGEBENCH, 0.5), "rmb": (RMB, 0.75), "ppe": (PPE, 0.75), "pandalm": (PANDALM, 0.6),
    "autoj": (AUTO_J, 1 / 3),
}  # fmt: skip


@pytest.mark.parametrize("suite", SUITES)
def test_the_headline_of_a_small_file_is_what_a_hand_counts(tmp_path: Path, suite: str) -> None:
    rows, by_hand = BY_HAND[suite]
    row = measured(tmp_path, suite, rows)
    assert row.benchmark is not None and row.benchmark.overall == pytest.approx(by_hand)
    said = suites.headline(SUITES[suite], [row])
    assert said.startswith(f"{SUITES[suite].title}: {100 * by_hand:.1f} (") and "both orders agree on" in said
    assert suites.cost([row]).endswith("20 tokens each (20 read, 0 written)")  # 40 for both orders
    figures = suites.leaderboard(SUITES[suite], JUDGE, [row])
    assert figures.pop("model") == "judge-1" and figures.pop("model_type") == "Generative RM"
    assert figures and all(isinstance(value, float) for value in figures.values())


def test_the_leaderboards_read_their_own_names(tmp_path: Path) -> None:
    def figures(suite: str, rows: list[dict]) -> dict:
        return suites.leaderboard(SUITES[suite], JUDGE, [measured(tmp_path, suite, rows)])

    assert {"alpacaeval-easy": 1.0, "mt-bench-med": 0.0, "donotanswer": 1.0}.items() <= figures(
        "rewardbench", REWARDBENCH
    ).items()
    second = figures("rewardbench2", REWARDBENCH2 + TIES)
    assert (second["Math"], second["Focus"]) == (0.5, 0.5) and second["Ties"] == pytest.approx(1.01)
    third = figures("rm_bench", RM_BENCH)
    assert third["chat"] == 1 and third["math"] == pytest.approx(1 / 3)
    assert {"easy_acc", "normal_acc", "hard_acc", "total_avg_acc"} <= set(third)
    assert third["hard_acc"] == pytest.approx((1 + 2 / 3) / 2) and third["easy_acc"] == pytest.approx(0.5)


def test_position_consistency_stands_beside_the_headline(tmp_path: Path) -> None:
    row = measured(tmp_path, "judgebench", JUDGEBENCH)
    assert row.consistent == 0.75  # the third of four contradicts itself
    assert suites.headline(SUITES["judgebench"], [row]) == (
        "JudgeBench: 50.0 (pairs won over both orders); both orders agree on 75.0 % of the pairs"
    )


def test_several_files_are_shown_by_their_mean(tmp_path: Path) -> None:
    rows = [measured(tmp_path, "ppe", part) for part in (PPE[:1], PPE[1:])]
    rows = [row.model_copy(update={"test_set": name}) for row, name in zip(rows, ("math", "gpqa"), strict=True)]
    assert suites.headline(SUITES["ppe"], rows).startswith("PPE: 75.0 (mean of 2 files, each the mean accuracy")
    board = suites.leaderboard(SUITES["ppe"], JUDGE, rows)
    assert board["overall"] == 0.75 and board["sets"]["gpqa"]["accuracy"] == 0.5


def test_people_who_say_tie_are_asked_about_ties_and_nobody_else_is(tmp_path: Path) -> None:
    pandalm = measured(tmp_path, "pandalm", PANDALM)
    assert pandalm.n == 5 and pandalm.benchmark is not None
    assert pandalm.benchmark.sections == {"first": 0.5, "second": 1.0, "tie": 0.5}
    assert pandalm.benchmark.detail["macro_recall"] == pytest.approx(2 / 3)
    assert pandalm.benchmark.detail["macro_precision"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert pandalm.accuracy_folded == pytest.approx((1 + 1 + 1 + 0 + 0.5) / 5)
    assert pandalm.n_with_probability == 3  # calibration speaks of pairs with a winner
    without = measured(tmp_path, "pandalm", PANDALM, "--data.ties", "leave_out")
    assert without.n == 3 and without.benchmark is not None and without.benchmark.overall == pytest.approx(2 / 3)


def test_a_tie_has_no_better_answer() -> None:
    tied = PreferencePair.create("q", "one", "two", tie=True)
    with pytest.raises(ValueError, match="is a tie"):
        tied.label()
    assert tied.id == PreferencePair.create("q", "two", "one").id


def test_the_pandalm_rule_says_before_judging_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which answer came first"):
        measured(tmp_path, "pandalm", REWARDBENCH)


def test_a_checkpoint_is_asked_as_in_the_run_that_made_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / "demo" / "methods" / "star_dpo" / "round1" / "checkpoint"
    checkpoint.mkdir(parents=True)
    made: Callable[..., None] = lambda **judge: (tmp_path / "runs" / "demo" / "config.yaml").write_text(  # noqa: E731
        yaml.safe_dump({"bootstrap": {}, "judge": judge, "model": {"max_context": 640}})
    )
    made(template="mt_bench", max_rationale=48)
    found = benchmark_config("ppe", str(checkpoint), [tmp_path / "x.jsonl"], None, ["--judge.votes", "3"])
    assert (found.judge.template, found.judge.max_rationale, found.judge.votes) == ("mt_bench", 48, 3)
    assert found.model.max_context == 640 and found.evaluation.decoding == ("greedy",)
    again = benchmark_config("ppe", str(checkpoint), [tmp_path / "x.jsonl"], None, ["--judge.votes", "3"])
    assert again.run.id == found.run.id  # the same command goes on
    made(template="compact")
    other = benchmark_config("ppe", str(checkpoint), [tmp_path / "x.jsonl"], None, [])
    assert other.judge.template == "compact" and other.run.id != found.run.id
    named = benchmark_config("ppe", "llm_judge", [tmp_path / "x.jsonl"], None, ["--run.id", "mine"])
    assert named.run.id == "mine" and named.judge.template == "compact"


def test_a_benchmark_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="--suite rewardbench3 is no benchmark"):
        benchmark_config("rewardbench3", "llm_judge", [Path("x")], None, [])
