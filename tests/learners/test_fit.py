"""Supervised fits on a real Ray: workers, kills, results, refusals, and scores of what was trained."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from genrm_rl.config.model import FitConfig
from genrm_rl.errors import DataError, ModelError, RunDirectoryError
from genrm_rl.learners.examples import PairExample, write_examples
from genrm_rl.learners.fit import FitProgress, FitSpec, fit
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.pair_objectives import last_token
from genrm_rl.learners.scoring import score_sequences
from genrm_rl.runtime.storage import is_complete, read_manifest
from tests.learners.conftest import BAD, FLOAT32, GOOD, Maker

STEPS = 12


@pytest.fixture(scope="module")
def spec(tiny_model, tmp_path_factory) -> FitSpec:
    """DPO over 48 pairs, 12 steps; the output directory is set by each test."""
    folder = tmp_path_factory.mktemp("fits")
    write_examples(folder / "pairs.arrow", Maker().pairs(48))
    return FitSpec(
        objective="dpo",
        model_dir=tiny_model.path,
        examples_path=folder / "pairs.arrow",
        output_dir=folder / "undisturbed",
        fit=FitConfig(learning_rate=3e-4, batch_size=8, epochs=2, beta=0.5),
        learner=FLOAT32,
        seed=5,
        parent_version="tiny",
        config_hash="abc",
        data_hashes={"pairs.arrow": "123"},
    )


@pytest.fixture(scope="module")
def undisturbed(spec, ray_cluster):
    """One worker, nothing goes wrong."""
    return fit(spec, show=False)


def contradicted(pair: PairExample) -> PairExample:
    """The other way round."""
    return PairExample(
        pair.rejected_ids, pair.rejected_prompt_length, pair.chosen_ids, pair.chosen_prompt_length, pair.id
    )


def curve(result) -> list[float]:
    return [row["loss"] for row in result.history]


def weights_of(result) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(result.output_dir / "model.safetensors")


def assert_same_weights(left, right) -> None:
    first, second = weights_of(left), weights_of(right)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        # AdamW turns a gradient that is nothing but rounding noise into a step of a whole learning rate.
        assert (tensor - second[name]).abs().mean() < 1e-5, name


def test_a_fit_learns_and_says_what_it_did(undisturbed, spec, tiny_model):
    assert [row["step"] for row in undisturbed.history] == list(range(STEPS))
    assert undisturbed.history[-1]["margin"] > undisturbed.history[0]["margin"] + 0.3
    assert undisturbed.final_loss < 0.5
    assert {"launch", "imports", "load", "start", "reference", "train", "save", "end", "total"} <= set(
        undisturbed.seconds
    )
    manifest = read_manifest(undisturbed.output_dir)
    assert manifest["objective"] == "dpo"
    assert manifest["parent"] == {"path": str(tiny_model.path), "version": "tiny"}
    assert (manifest["seed"], manifest["config_hash"]) == (5, "abc")
    assert manifest["data_hashes"] == {"pairs.arrow": "123"}
    assert manifest["trained_tokens"] == sum(row["tokens"] for row in undisturbed.history)
    assert manifest["versions"]["deepspeed"]
    assert not (undisturbed.output_dir.parent / ".undisturbed.fit").exists(), "the state is removed at the end"


def test_a_finished_fit_is_returned_and_another_one_is_refused(undisturbed, spec):
    before = (undisturbed.output_dir / "model.safetensors").stat().st_mtime_ns
    again = fit(spec, show=False)
    assert (again.version, curve(again)) == (undisturbed.version, curve(undisturbed))
    assert (undisturbed.output_dir / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunDirectoryError, match="result of another fit"):
        fit(replace(spec, seed=6), show=False)


@pytest.mark.drill
def test_two_workers_follow_the_curve_of_one(undisturbed, spec):
    learner = spec.learner.model_copy(update={"workers": 2, "zero_stage": 2})
    result = fit(replace(spec, learner=learner, output_dir=spec.output_dir.with_name("two-workers")), show=False)
    assert curve(result) == pytest.approx(curve(undisturbed), rel=2e-3, abs=2e-4)
    norms = [[row["grad_norm"] for row in r.history] for r in (result, undisturbed)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)
    assert_same_weights(result, undisturbed)


@pytest.fixture
def watched_closely(monkeypatch):
    """The events are looked at often enough to act between two steps of the tiny model."""
    monkeypatch.setattr("genrm_rl.learners.fit.PROGRESS_INTERVAL", 0.02)


@pytest.mark.drill
@pytest.mark.usefixtures("watched_closely")
def test_a_killed_worker_resumes_from_its_checkpoint(undisturbed, spec):
    output = spec.output_dir.with_name("killed")
    learner = spec.learner.model_copy(update={"checkpoint_every": 3, "keep_checkpoints": 1})
    killed = replace(spec, learner=learner, output_dir=output)
    victims: list[int] = []

    def kill_after_first_checkpoint(state: FitProgress) -> None:
        if not victims and state.attempt == 1 and list(killed.state_dir().glob("step-*/_COMPLETE.json")):
            (events,) = killed.state_dir().glob("events-001.jsonl")
            victims.extend(json.loads(events.read_text().splitlines()[0])["pids"])
            os.kill(victims[0], signal.SIGKILL)

    result = fit(killed, progress=kill_after_first_checkpoint, show=False)
    assert victims and result.restarts == 1
    assert curve(result) == pytest.approx(curve(undisturbed), rel=1e-4, abs=1e-5)
    assert_same_weights(result, undisturbed)


@pytest.mark.drill
@pytest.mark.usefixtures("watched_closely")
def test_an_interrupted_driver_continues_the_same_fit_with_less_memory(undisturbed, spec, tiny_model):
    """What a killed driver leaves behind is a state directory; a new call takes it up, also with half the microbatch,
    as after running out of memory."""
    output = spec.output_dir.with_name("driver")
    learner = spec.learner.model_copy(update={"checkpoint_every": 4})
    interrupted = replace(spec, learner=learner, output_dir=output)
    first_half = replace(interrupted, output_dir=output.with_name("first-half"))
    kept = output.with_name("kept")

    def copy_state(state: FitProgress) -> None:
        if not kept.exists() and list(first_half.state_dir().glob("step-*/_COMPLETE.json")):
            shutil.copytree(first_half.state_dir(), kept, ignore=shutil.ignore_patterns("ray-train", ".*"))

    fit(first_half, progress=copy_state, show=False)
    shutil.copytree(kept, interrupted.state_dir())
    smaller = {
        "tokens_per_microbatch": 300,
        "gradient_checkpointing": True,
        "checkpoint_every": 0,
        "stall_deadline": 99,
    }
    interrupted = replace(interrupted, learner=learner.model_copy(update=smaller))
    assert interrupted.state_dir().is_dir(), "memory and speed are no part of a fit's identity"
    other = interrupted.state_dir().with_name("a-fit-with-other-settings")
    other.mkdir()
    seen = []
    result = fit(interrupted, progress=lambda state: seen.append(other.is_dir()), show=False)
    assert all(seen) and not other.exists(), "other states are deleted after success only"
    assert result.restarts >= 1
    assert curve(result) == pytest.approx(curve(undisturbed), rel=1e-4, abs=1e-5)
    assert_same_weights(result, undisturbed)


def test_bradley_terry_from_fit_to_scores(spec, tmp_path):
    write_examples(tmp_path / "pairs.arrow", Maker(1).pairs(48))
    result = fit(
        replace(
            spec,
            objective="bradley_terry",
            examples_path=tmp_path / "pairs.arrow",
            output_dir=tmp_path / "bt",
            fit=spec.fit.model_copy(update={"learning_rate": 1e-3}),
        ),
        show=False,
    )
    held_out = Maker(2).pairs(20)
    sequences = [ids for pair in held_out for ids in (pair.chosen_ids, pair.rejected_ids)]
    scores = score_sequences(result.output_dir, sequences, spec.learner, show=False)
    assert sum(a > b for a, b in zip(scores[::2], scores[1::2], strict=True)) >= 18
    learner = Learner(result.output_dir, spec.learner, head="score")
    assert scores == pytest.approx(learner.scores([last_token(ids) for ids in sequences]), abs=1e-3)
    learner.close()


def test_scores_need_a_scalar_model(undisturbed, spec):
    with pytest.raises(ModelError, match="score_head.safetensors"):
        score_sequences(undisturbed.output_dir, [(GOOD, BAD)], spec.learner, show=False)


def test_bad_inputs_are_refused_before_anything_starts(spec, tmp_path, tiny_model, ray_cluster):
    started = []
    refuse = replace(spec, output_dir=tmp_path / "out")

    def attempt(**changes) -> str:
        with pytest.raises((DataError, ModelError)) as caught:
            fit(replace(refuse, **changes), progress=started.append, show=False)
        return str(caught.value)

    write_examples(tmp_path / "large.arrow", [PairExample((5, 900), 1, (5, 6), 1, "x")])
    assert "token id 900" in attempt(examples_path=tmp_path / "large.arrow")
    write_examples(tmp_path / "long.arrow", [PairExample((5,) * 2000, 1, (5, 6), 1, "x")])
    assert "2000 tokens" in attempt(examples_path=tmp_path / "long.arrow")
    assert "reads SequenceExample rows" in attempt(objective="sft")
    assert "no such file" in attempt(examples_path=tmp_path / "absent.arrow")
    broken = tmp_path / "model"
    shutil.copytree(tiny_model.path, broken)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-9])
    assert "cut off" in attempt(model_dir=broken)
    assert not started and not is_complete(tmp_path / "out")


@pytest.mark.drill
def test_the_weights_that_did_best_on_held_out_pairs_are_the_result(spec, ray_cluster, tmp_path):
    """Training pairs of one half, held-out pairs that contradict them: the sooner it stops, the better."""
    write_examples(tmp_path / "held_out.arrow", [contradicted(pair) for pair in Maker().pairs(16)])
    settings = FitConfig(learning_rate=3e-4, batch_size=8, epochs=1)
    plain = replace(spec, objective="bradley_terry", fit=settings, output_dir=tmp_path / "last")
    watched = settings.model_copy(update={"evaluate_every": 2})
    chosen = replace(plain, fit=watched, held_out_path=tmp_path / "held_out.arrow", output_dir=tmp_path / "best")
    last, best = fit(plain, show=False), fit(chosen, show=False)
    assert curve(last) == pytest.approx(curve(best))
    measured = {row["step"]: row["held_out_loss"] for row in best.history if "held_out_loss" in row}
    assert list(measured) == [1, 3, 5] and list(measured.values()) == sorted(measured.values())
    manifest = read_manifest(best.output_dir)
    assert (manifest["best_step"], manifest["held_out_loss"]) == (1, measured[1])
    differences = [(tensor - weights_of(last)[name]).abs().max() for name, tensor in weights_of(best).items()]
    assert max(differences) > 1e-4
    assert not list(tmp_path.glob(".best.fit"))
