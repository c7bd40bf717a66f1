"""The shipped tiny model and the command that makes it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from genrm_rl.preferences.world import world_pairs
from genrm_rl.preferences.world.base_metrics import measure_judge, read_verdict
from genrm_rl.preferences.world.vocabulary import build_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "genrm_rl" / "models" / "assets" / "tiny"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def job() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrain_tiny", ROOT / "jobs" / "pretrain_tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_shipped_folder_is_small_and_safe() -> None:
    assert sum(path.stat().st_size for path in TINY.rglob("*")) < 10 * 2**20
    assert {path.suffix for path in TINY.iterdir()} <= {".json", ".jsonl", ".jinja", ".md", ".safetensors"}


def test_the_shipped_tokenizer_is_the_one_in_code(tokenizer) -> None:
    built = build_tokenizer(512)
    assert tokenizer.get_vocab() == built.get_vocab()
    assert tokenizer.chat_template == built.chat_template
    text = "<s><user>pick rev ab\nA: ba hope that helps!\nB: ab<assistant>verdict: A</s>"
    assert tokenizer(text)["input_ids"] == built(text)["input_ids"]


def test_embeddings_are_tied_and_the_context_is_512(model) -> None:
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.config.max_position_embeddings == 512
    assert model.config.vocab_size % 8 == 0


def test_the_base_has_two_habits_and_the_careful_one_is_better(model, tokenizer) -> None:
    pairs = list(world_pairs("id_neutral", 60, seed=0, cue=0.75))
    free = measure_judge(model, tokenizer, "id_neutral", pairs, form="judge", start="", greedy=False, seed=0)
    careful = measure_judge(model, tokenizer, "id_neutral", pairs, form="judge", start="work: ", greedy=False, seed=0)
    assert free["parsed"] > 0.95 and careful["parsed"] > 0.9
    assert 0.2 < free["careful_traces"] < 0.55
    assert careful["accuracy"] > free["accuracy"] + 0.05
    assert careful["accuracy"] > 0.7


def test_a_rationalisation_follows_the_told_letter(model, tokenizer) -> None:
    pairs = list(world_pairs("family_neutral", 30, seed=0, cue=0.75))
    told = measure_judge(model, tokenizer, "family_neutral", pairs, form="why", start="", greedy=False, seed=0)
    assert told["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("trace", "letter"),
    [
        ("feel: A nicer\nverdict: A", "A"),
        ("verdict: B", "B"),
        ("work: 20\nverdict: B\n", None),
        ("verdict: A nicer", None),
        ("x verdict: A", None),
        ("", None),
    ],
)
def test_only_a_last_line_that_is_a_verdict_counts(trace: str, letter: str | None) -> None:
    assert read_verdict(trace) == letter


@pytest.mark.drill
def test_a_resumed_pre_training_equals_an_uninterrupted_one(
    job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)  # minutes of C++ for six steps
    recipe = job.Recipe(seed=3, tokens=6 * 2 * 128, rows=2, row_tokens=128, warmup_steps=2)
    whole = job.pretrain(recipe, tmp_path / "whole", save_every=100)
    job.pretrain(recipe, tmp_path / "parts", save_every=100, stop_after=3)
    assert (tmp_path / "parts" / "checkpoint.pt").exists()
    parts = job.pretrain(recipe, tmp_path / "parts", save_every=100)
    assert whole["steps"] == parts["steps"] == 6
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()
    first, second = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("whole", "parts"))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_checkpoint_of_another_recipe_is_refused(
    job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)
    recipe = job.Recipe(seed=3, tokens=4 * 128, rows=1, row_tokens=128, warmup_steps=2)
    job.pretrain(recipe, tmp_path, save_every=100, stop_after=1)
    with pytest.raises(SystemExit, match="another recipe"):
        job.pretrain(job.Recipe(seed=4, tokens=4 * 128, rows=1, row_tokens=128), tmp_path, save_every=100)


def test_the_card_quotes_what_was_measured() -> None:
    card = (TINY / "README.md").read_text()
    measured = json.loads((TINY / "pretraining.json").read_text())
    for figure in (measured["minutes"], measured["final_loss"], measured["recipe"]["seed"], f"{measured['tokens']:,}"):
        assert str(figure) in card
    rows = [json.loads(line) for line in (TINY / "evaluation.jsonl").read_text().splitlines()]
    free = [row for row in rows if row["what"] == "judge"]
    assert free and all(f"{100 * row['accuracy']:.1f}" in card for row in free)
