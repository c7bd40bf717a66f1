"""Splits: cut by prompt, copies removed from the less held-out side, samples that depend on the seed alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_rl.config.data import DataConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.dedup import PromptTable, prompt_key, prompt_shingles
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.splits import cut_gate, hash_order, remove_leaks
from genrm_rl.preferences.types import PreferencePair
from tests.unit.test_preferences_reading import write_jsonl

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
LONG = " ".join(f"word{i}" for i in range(30))


def make(prompt: str, answer: str = "x", source: str = "s") -> PreferencePair:
    """A pair with its own answers."""
    return PreferencePair.create(prompt, f"good {answer}", f"bad {answer}", source=source)


def leaks(train, gate, test, threshold: float = 0.8):
    """Run the leak check on prompts; returns kept train prompts, kept gate prompts, counts."""
    sides = [
        [make(prompt, f"{side}{i}") for i, prompt in enumerate(side_prompts)]
        for side, side_prompts in (("train", train), ("gate", gate), ("test", test))
    ]
    table = PromptTable([pair for side in sides for pair in side], threshold)
    kept_train, kept_gate, found = remove_leaks(sides[0], sides[1], {"t": sides[2]}, table)
    return [p.prompt[0].content for p in kept_train], [p.prompt[0].content for p in kept_gate], found.counts


def test_the_less_held_out_side_loses() -> None:
    train, gate, counts = leaks(
        ["one", "Two ", "three", f"{LONG} end"], ["two", "four", "five"], ["FOUR", "three", LONG]
    )
    assert train == ["one"] and gate == ["two", "five"]
    assert counts == {
        ("gate", "test/t", "equal"): 1,
        ("train", "gate", "equal"): 1,
        ("train", "test/t", "equal"): 1,
        ("train", "test/t", "near_duplicate"): 1,
    }


def test_short_prompts_are_compared_for_equality_only() -> None:
    train, _, counts = leaks(["sort abdc", "rev abcd", "add 3 4 5", "count a in dbb"], [], ["sort abcd", "add 3 4 6"])
    assert len(train) == 4 and not counts


def test_threshold_one_leaves_only_equal_prompts() -> None:
    near = f"{LONG} end"
    assert leaks([near, LONG], [], [LONG], threshold=1.0)[0] == [near]
    assert leaks([near, LONG], [], [LONG], threshold=0.8)[0] == []


def test_a_common_instruction_does_not_make_prompts_alike() -> None:
    prompts = [f"{LONG} about {word} and {word}s" for word in WORDS]
    train, _, counts = leaks(prompts[:6], [], prompts[6:])
    assert len(train) == 6 and not counts


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join), min_size=2, max_size=12, unique=True
    ),
    st.sampled_from([0.3, 0.5, 0.8, 0.95]),
)
def test_index_finds_exactly_what_comparing_everything_finds(prompts: list[str], threshold: float) -> None:
    # few words, so that many prompts are near; fewer prompts than count as boilerplate per source
    pairs = [make(prompt, source=f"s{i}") for i, prompt in enumerate(prompts)]
    table = PromptTable(pairs, threshold)
    keys = list(dict.fromkeys(table.key(pair) for pair in pairs))
    shingles = {prompt_key(pair.prompt): prompt_shingles(pair.prompt) for pair in pairs}
    index = table.index(keys)
    for key in keys:
        mine = shingles[key]
        expected = {
            other
            for other in keys
            if other != key and mine and len(mine & shingles[other]) >= threshold * len(mine | shingles[other]) - 1e-9
        }
        assert set(table.similar(key, index)) - {key} == expected


@given(st.integers(0, 5), st.sampled_from([0.1, 0.3, 0.5]))
def test_gate_takes_whole_prompts(seed: int, fraction: float) -> None:
    pairs = [make(f"{word} question", str(i)) for word in WORDS for i in range(3)]
    train, gate = cut_gate(pairs, fraction, seed, PromptTable(pairs, 0.8))
    train_prompts, gate_prompts = ({prompt_key(pair.prompt) for pair in side} for side in (train, gate))
    assert not train_prompts & gate_prompts
    assert len(gate_prompts) == max(1, round(fraction * len(WORDS)))
    assert sorted(pair.id for pair in [*train, *gate]) == sorted(pair.id for pair in pairs)
    assert (train, gate) == cut_gate(pairs, fraction, seed, PromptTable(pairs, 0.8))


def test_near_duplicates_stay_on_one_side_of_the_cut() -> None:
    twins = [f"{' '.join(f'{word}{i}' for i in range(30))} {end}" for word in WORDS for end in ("yes", "no")]
    pairs = [make(prompt) for prompt in twins]
    table = PromptTable(pairs, 0.8)
    train, gate = cut_gate(pairs, 0.2, 0, table)
    assert len(gate) == 4 and len(train) == 20
    assert remove_leaks(train, gate, {}, table)[2].counts == {}


def test_gate_that_cannot_be_cut_says_so() -> None:
    pairs = [make("one prompt only", str(i)) for i in range(5)]
    with pytest.raises(DataError, match="data.gate"):
        cut_gate(pairs, 0.1, 0, PromptTable(pairs, 0.8))


def test_few_prompts_with_many_pairs_each_are_cut_by_prompt() -> None:
    pairs = [
        make(f"Debate: {word} or not?\nWrite a convincing argument.", str(i)) for word in WORDS[:4] for i in range(50)
    ]
    train, gate = cut_gate(pairs, 0.1, 3, PromptTable(pairs, 0.8))
    assert (len(train), len(gate)) == (150, 50)


def test_samples_are_stable_and_a_smaller_one_is_part_of_a_larger_one(tmp_path) -> None:
    rows = [{"prompt": f"{a} {b}", "chosen": "good", "rejected": "bad"} for a in WORDS for b in WORDS]
    write_jsonl(tmp_path / "d.jsonl", rows)
    write_jsonl(tmp_path / "r.jsonl", rows[::-1])

    def load(limit, seed=0, file="d.jsonl"):
        config = {"root": str(tmp_path), "test": [{"path": file, "name": "t", "limit": limit}]}
        return load_sources(DataConfig.model_validate(config), seed).test["t"]

    assert load(20) == load(20, file="r.jsonl") == load(50)[:20]
    assert load(20) != load(20, seed=1)
    assert load(None) == hash_order(load(None, seed=1), 0)


def test_given_gate_is_kept_and_world_sets_do_not_leak() -> None:
    config = {
        "train": [{"world": "train", "limit": 60}],
        "gate": [{"world": "gate", "limit": 20}],
        "test": [{"world": "id", "limit": 20}, {"world": "long_neutral", "limit": 20}],
        "world": {"label_noise": 0.5},
    }
    splits = load_sources(DataConfig.model_validate(config), 0)
    assert splits.report.sizes == {"train": 60, "gate": 20, "test/id": 20, "test/long_neutral": 20}
    assert not splits.report.gate_cut_from_train and splits.report.leaks.as_rows() == []
    assert any(pair.meta["label_flipped"] for pair in splits.train)
    assert not any(pair.meta["label_flipped"] for pair in [*splits.gate, *splits.test["id"]])
    assert {pair.source for pair in splits.test["id"]} == {"id"}


def test_training_data_that_is_all_test_data_stops_the_run(tmp_path) -> None:
    rows = [{"prompt": word, "chosen": "good", "rejected": "bad"} for word in WORDS]
    write_jsonl(tmp_path / "d.jsonl", rows)
    both = {"root": str(tmp_path), "train": [{"path": "d.jsonl"}], "test": [{"path": "d.jsonl"}]}
    with pytest.raises(DataError, match=r"No pair is left for train \(11 were copies of held-out prompts\)"):
        load_sources(DataConfig.model_validate(both), 0)


def test_the_report_counts_copies_of_both_kinds_and_names_the_layout(tmp_path: Path) -> None:
    from genrm_rl.bootstrap.stage_rows import data_rows

    prompts = {"train": ["one", f"{LONG} end", "three", "four"], "test": ["one", LONG, "five"]}
    for side, texts in prompts.items():
        rows = [{"prompt": text, "chosen": f"good {side}", "rejected": f"bad {side}"} for text in texts]
        write_jsonl(tmp_path / f"{side}.jsonl", rows)
    sides = {side: [{"path": f"{side}.jsonl"}] for side in prompts} | {"gate": [{"world": "gate", "limit": 4}]}
    report = load_sources(DataConfig.model_validate({"root": str(tmp_path), **sides}), 0).report
    train, gate, test = data_rows(report)
    assert (gate.read, gate.layout) == (4, "")
    assert (train.exact_duplicates, train.near_duplicates, train.layout) == (1, 1, "pair")
    assert (test.exact_duplicates, test.near_duplicates, test.read) == (0, 0, 3)
