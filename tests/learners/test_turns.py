"""A learner that leaves its device to engines and comes back learns as one that never left."""

from __future__ import annotations

import pytest
import torch

from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.objectives import build_objective
from tests.learners.conftest import FLOAT32, Maker

STEPS = 3


def life(model, config, *, leaves: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of some steps and the weights after them; between two steps the learner may leave."""
    learner = Learner(model, config, seed=1)
    objective = build_objective("sft", beta=0.1, label_smoothing=0.0, nll_coefficient=0.0)
    losses = []
    for _ in range(STEPS):
        losses.append(learner.step(Maker().sequences(8), objective, learning_rate=1e-3).loss)
        if leaves:
            learner.offload()
            away = {name: tensor.clone() for name, tensor in learner.weights()}
            learner.reload()
            assert all(torch.equal(away[name], tensor) for name, tensor in learner.weights())
    weights = {name: tensor.clone() for name, tensor in learner.weights()}
    learner.close()
    return losses, weights


DEAR = ({"zero_stage": 1}, {"zero_stage": 2, "precision": "bfloat16"}, {"zero_stage": 2, "lora_rank": 4})


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_stage": 2},
        *(pytest.param(changes, marks=pytest.mark.drill) for changes in DEAR),
        pytest.param({"zero_stage": 2, "offload": "optimizer"}, marks=pytest.mark.drill),
    ],
    ids=str,
)
def test_a_learner_that_leaves_its_device_between_steps_learns_the_same(tiny_model, changes):
    config = FLOAT32.model_copy(update=changes)
    stayed, left = (life(tiny_model.path, config, leaves=leaves) for leaves in (False, True))
    assert stayed[0] == left[0]
    assert all(torch.equal(weight, left[1][name]) for name, weight in stayed[1].items())


@pytest.mark.drill
def test_a_group_leaves_and_returns_once_however_often_it_is_told(ray_cluster, tiny_model):
    config = FLOAT32.model_copy(update={"zero_stage": 2})
    with (
        LearnerGroup("policy", tiny_model.path, config) as policy,
        LearnerGroup("reference", tiny_model.path, config, trainable=False) as reference,
    ):
        before = [group.probe_reference() for group in (policy, reference)]
        for group in (policy, reference):
            group.reload()
            group.offload()
            group.offload()
            payload = group.hold("shared_memory")  # a publication that is repeated finds the weights on the host
            assert payload.nbytes
            payload.close()
            group.reload()
        assert [group.probe_reference() for group in (policy, reference)] == before
