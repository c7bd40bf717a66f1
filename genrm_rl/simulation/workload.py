"""How long simulated work takes: modelled seconds of a planned job, and answer lengths with a long tail."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from genrm_rl.config.alignment import AlignConfig
from placement.hardware import GPUS
from placement.times import FILL, step_times

SPREAD = 0.8  # sigma of the log-normal lengths
TAIL = 8.0  # longest answer over the median, where the tail is long: one answer in a hundred is cut off there
TAIL_SPREAD = math.log(TAIL) / 2.326  # the 99th percentile of a normal distribution
UNIT_ENGINES = 4  # of the preset from which the seconds come: 4 engines, 8 judges, 8 learner GPUs
GPU = "H100"


@dataclass(frozen=True)
class Workload:
    """Seconds of one PPO step in which every engine has ``groups`` groups of ``samples`` answers.

    Weak scaling: learners and judges grow with the engines, so no time depends on their number. ``token`` is the time
    between two tokens of a sequence, ``judge`` that of one group at the judge, ``train`` the update with its passes.
    """

    groups: int
    samples: int
    max_tokens: int
    mean_tokens: float
    token: float
    judge: float
    train: float
    publish: float
    spread: float = SPREAD

    @property
    def median_tokens(self) -> float:
        """Half of the answers are longer."""
        return self.mean_tokens * math.exp(-(self.spread**2) / 2)

    def length(self, seed: int) -> int:
        """Tokens of the answer to a request with this seed: log-normal around ``mean_tokens``, cut at the maximum."""
        drawn = random.Random(seed).lognormvariate(math.log(self.median_tokens), self.spread)
        return max(1, min(self.max_tokens, round(drawn)))


def workload_of(config: AlignConfig) -> Workload:
    """The workload of a planned alignment on H100s, by the time model of ``placement.times``.

    ``config`` is a plan with ``UNIT_ENGINES`` engines in which all of an engine's answers run at once.
    """
    gpu = GPUS[GPU]
    times = step_times(config, gpu, gpu, gpu)
    mean = FILL * config.sampling.max_tokens
    return Workload(
        groups=config.ppo.prompts_per_step // config.rollout.engines,
        samples=config.ppo.samples_per_prompt,
        max_tokens=config.sampling.max_tokens,
        mean_tokens=mean,
        token=times.generate / mean,
        judge=times.judge,
        train=times.train,
        publish=times.publish,
    )


def long_tailed(workload: Workload) -> Workload:
    """The same seconds with lengths of the same mean whose longest is ``TAIL`` times the median."""
    tailed = replace(workload, spread=TAIL_SPREAD)
    return replace(tailed, max_tokens=round(TAIL * tailed.median_tokens))
