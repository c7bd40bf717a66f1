"""`genrm-rl init`: what it says of pairs, model and machine, and a configuration that the dry run accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrm_rl.bootstrap.first_config import sizes_for
from genrm_rl.bootstrap.first_look import Machine, choose_sides
from genrm_rl.cli import main
from genrm_rl.config import ModelConfig, RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.preferences.world import world_pairs
from placement import memory
from placement.shapes import shape_of
from placement.sharing import gpus_of, on_one_gpu


def pair_rows(split: str, count: int) -> str:
    """Pairs of the task world in the layout prompt, response_a, response_b, label."""
    rows = [
        {"prompt": pair.prompt[-1].content, "response_a": pair.chosen, "response_b": pair.rejected, "label": "A"}
        for pair in world_pairs(split, count, 0, cue=0.5)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_one_file_becomes_a_configuration_that_the_dry_run_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = write(tmp_path / "pairs.jsonl", pair_rows("train", 60) + json.dumps({"prompt": "x", "label": "A"}) + "\n")
    out = tmp_path / "configs" / "first.yaml"
    main_ends(0, ["init", "--pairs", str(file), "--model", "tiny", "--out", str(out)])
    said, text = capsys.readouterr().out, out.read_text(encoding="utf-8")
    for seen in ("60 pairs of 61 rows, read as `labelled`", "columns: prompt, response_a, response_b, label", "1 "):
        assert seen in said and seen in text
    main_ends(0, ["bootstrap", "--config", str(out), "--dry-run"])
    shown = capsys.readouterr().out
    assert "test held_out" in shown and "star_dpo" in shown
    config = load_config(RunConfig, out)
    assert config.learner.tokens_per_microbatch >= config.model.max_context
    main_ends(2, ["init", "--pairs", str(file), "--model", "tiny", "--out", str(out)])
    assert "is not overwritten" in capsys.readouterr().err and out.read_text(encoding="utf-8") == text


def test_the_splits_of_a_folder_are_kept(tmp_path: Path):
    for split, world in (("train", "train"), ("validation", "gate"), ("test", "id")):
        write(tmp_path / "set" / f"{split}.jsonl", pair_rows(world, 20))
    out = tmp_path / "first.yaml"
    main_ends(0, ["init", "--pairs", str(tmp_path / "set"), "--model", "tiny", "--out", str(out)])
    data = load_config(RunConfig, out).data
    assert [side[0].split for side in (data.train, data.gate, data.test)] == ["train", "validation", "test"]
    assert choose_sides(["train", "dev"]) == {"train": "train", "test": "dev"}
    assert choose_sides([]) == {"train": None}


def test_nobody_is_asked_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.chdir(tmp_path)
    main_ends(2, ["init", "--model", "tiny"])
    assert "--pairs is not given" in capsys.readouterr().err
    main_ends(2, ["init", "--model", "tiny", "--pairs", "nowhere.jsonl"])
    assert "nowhere.jsonl does not exist" in capsys.readouterr().err


def test_sizes_follow_the_memory_of_the_machine():
    small, large = (ModelConfig(name=name) for name in ("smollm2", "meta-llama/Llama-3.1-8B-Instruct"))
    laptop, node = Machine(8, 16.0, 0, 0.0), Machine(64, 500.0, 8, 80.0)
    fits = sizes_for(shape_of(small), 640, laptop)
    assert fits.learner_gib <= 8.0 and fits.engine_gib < 8.0 and fits.learner.gpus_per_worker == 0
    assert sizes_for(shape_of(small), 640, Machine(8, 160.0, 0, 0.0)).learner.tokens_per_microbatch > (
        fits.learner.tokens_per_microbatch
    )
    one = sizes_for(shape_of(small), 640, Machine(16, 64.0, 1, 24.0))
    assert sum(gpus_of(on_one_gpu(RunConfig(learner=one.learner, rollout=one.rollout)))) <= 1
    spread = sizes_for(shape_of(large), 4096, node).learner
    assert spread.workers == 7 and spread.tokens_per_microbatch >= 4096
    assert memory.trained_model(shape_of(large), spread.model_copy(update={"precision": "bfloat16"})).total <= 0.9 * 80
    with pytest.raises(EnvironmentProblem, match="choose a smaller --model"):
        sizes_for(shape_of(large), 4096, laptop)


def main_ends(status: int, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert (ended.value.code or 0) == status
