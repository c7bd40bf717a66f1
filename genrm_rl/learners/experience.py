"""From sampled answers with shaped rewards to examples of a policy step: advantages, corrections, critic's targets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genrm_rl.algorithms.advantages import WHITENED, generalized_advantages, returns, token_rewards, whiten
from genrm_rl.algorithms.importance import importance_weights
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.packing import Segment
from genrm_rl.learners.policy import PolicyExample

NOTHING = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """Tokens that an engine sampled, its log-probabilities of them [T], and the reward after the group's baseline.

    An episode is an answer of several ``turns``: (first, after the last) token of the completion each. What stands
    between them was observed. ``turn_shaped`` are advantages of each turn, added to what the whole episode earned.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    engine_logp_T: tuple[float, ...]
    shaped: float
    unfinished: bool = False  # cut off, and not to be taken as ended
    turns: tuple[tuple[int, int], ...] = ()
    turn_shaped: tuple[float, ...] = ()

    def segment(self) -> Segment:
        """The sequence and the positions that predict its sampled tokens."""
        return completion_tokens(self.prompt_ids, self.completion_ids, self.turns)

    def states(self) -> Segment:
        """The same with the position after the last token: T + 1 positions for a critic."""
        plain = self.segment()
        return Segment(plain.token_ids, np.append(plain.take, plain.take[-1] + 1))

    def turn_lengths(self) -> list[int]:
        """Sampled tokens of each turn."""
        return [end - first for first, end in self.turns] or [len(self.engine_logp_T)]


def policy_examples(
    answers: Sequence[SampledAnswer],
    old_logp: Sequence[np.ndarray] | None,
    reference_logp: Sequence[np.ndarray],
    values: Sequence[np.ndarray] | None,
    config: PPOConfig,
    kl_coefficient: float,
) -> list[PolicyExample]:
    """Examples with advantages. Log-probabilities have one row of [T] per answer; ``values`` are the critic's of
    :meth:`SampledAnswer.states`, [T + 1] (``gae`` only). Without ``old_logp`` the examples have none and no importance
    weights: they are for one update, which finds both in its own forward pass (not with ``kl_in`` reward or correction
    ``mask``, which need them before).

    With ``kl_in`` reward each token pays ``kl_coefficient`` times the k1 KL to the reference; else the KL is a term of
    the loss and rewards are the judge's alone. An answer of which the correction leaves nothing is left out.
    """
    penalty = kl_coefficient if config.kl_in == "reward" else 0.0
    made = []
    for i, answer in enumerate(answers):
        engine_T = np.asarray(answer.engine_logp_T)
        old_T, weights_T, kl_T = NOTHING, NOTHING, np.zeros(len(engine_T))
        if old_logp is not None:
            old_T, kl_T = old_logp[i], old_logp[i] - reference_logp[i]
            weights_T = importance_weights(
                old_T, engine_T, config.correction, config.correction_level, config.correction_range
            )
            if not weights_T.any():
                continue
        advantages_T, returns_T = _advantages(answer, kl_T, None if values is None else values[i], config, penalty)
        example = PolicyExample(
            prompt_ids=answer.prompt_ids,
            completion_ids=answer.completion_ids,
            advantages_T=advantages_T,
            old_logp_T=_float32(old_T),
            rollout_logp_T=_float32(engine_T),
            importance_T=_float32(weights_T),
            reference_logp_T=_float32(reference_logp[i]),
            old_values_T=NOTHING if values is None else _float32(values[i][:-1]),
            returns_T=_float32(returns_T),
            turns=answer.turns,
        )
        made.append(example)
    advantages = [example.advantages_T for example in made]
    if config.advantage in WHITENED:
        advantages = whiten(advantages)
    return [
        replace(example, advantages_T=_float32(advantages_T))
        for example, advantages_T in zip(made, advantages, strict=True)
    ]


def minibatches(examples: Sequence[PolicyExample], count: int, *, seed: str) -> list[list[PolicyExample]]:
    """``count`` shuffled parts of about equal numbers of tokens; fewer if there are fewer examples.

    Examples are dealt to the lightest part, the longest first, so that no optimizer step has all the long answers.
    """
    count = min(count, len(examples))
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    if count == 1:
        return [[examples[index] for index in order]]
    parts: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in sorted(order, key=lambda i: -examples[i].tokens):
        lightest = loads.index(min(loads))
        parts[lightest].append(index)
        loads[lightest] += examples[index].tokens
    return [[examples[index] for index in part] for part in parts]


def _advantages(
    answer: SampledAnswer, kl_T: np.ndarray, values: np.ndarray | None, config: PPOConfig, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and, with a critic, its targets, [T] each.

    After an unfinished answer comes what the critic expects, in place of the judge's reward of the text so far: both
    together would count the outcome twice.
    """
    lengths = answer.turn_lengths()
    turn_shaped = answer.turn_shaped or (0.0,) * len(lengths)
    if values is None:
        episode_T = returns(token_rewards(answer.shaped, kl_T, penalty), config.gamma)
        return episode_T + np.repeat(turn_shaped, lengths), NOTHING
    reward, after = (0.0, float(values[-1])) if answer.unfinished else (answer.shaped, 0.0)
    rewards_T = token_rewards(reward, kl_T, penalty)
    if len(lengths) == 1:
        return generalized_advantages(values[:-1], rewards_T, config.gamma, config.gae_lambda, after=after)
    # GAE over turns: an action is what a turn decides, and its tokens share the advantage.
    first = np.cumsum([0, *lengths[:-1]])
    rewards_K = np.add.reduceat(rewards_T, first) + turn_shaped
    advantages_K, returns_K = generalized_advantages(
        values[first], rewards_K, config.gamma, config.gae_lambda, after=after
    )
    return np.repeat(advantages_K, lengths), np.repeat(returns_K, lengths)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
