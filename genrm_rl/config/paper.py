"""What the paper reports of its set-up (arXiv 2410.12832, sections 3, 4 and 5, appendix A), beside a configuration.

A configuration that follows the paper says so with ``paper_differences``: its keys are the settings in which it differs
on purpose, its values the reasons. What the paper does not report (batch sizes, context, samples per pair, how a trace
without a verdict is treated, seeds) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genrm_rl.config.bootstrap import RunConfig
from genrm_rl.errors import ConfigError

ULTRAFEEDBACK = "HuggingFaceH4/ultrafeedback_binarized"


@dataclass(frozen=True, slots=True)
class PaperDifference:
    """One setting in which a configuration is not the paper's; ``reason`` is None where it gives none."""

    setting: str
    paper: Any
    here: Any
    reason: str | None


def paper_values(config: RunConfig) -> dict[str, Any]:
    """The paper's run on UltraFeedback, by dotted setting; data sets as ``path split``."""
    fits = ("sft", "dpo", "rationalizer")
    rates = {f"bootstrap.{fit}.learning_rate": 1e-6 for fit in ("sft", "dpo", "direct", "bradley_terry", "pairrm")}
    return {
        "model.name": "meta-llama/Llama-3.1-8B-Instruct",
        "data.train": (f"{ULTRAFEEDBACK} train_prefs",),
        "data.test": (f"{ULTRAFEEDBACK} test_prefs", "allenai/reward-bench filtered"),
        "data.gate_fraction": 0.0,  # no pair is kept back
        "judge.template": "mt_bench",
        "judge.temperature": 1.0,
        "judge.top_p": 0.95,
        "judge.votes": 32,
        "judge.aggregate": "majority",
        "judge.orders": "one",
        "bootstrap.iterations": 3,
        "bootstrap.temperature": 1.0,
        "bootstrap.top_p": 0.95,
        "bootstrap.promote": "always",
        "bootstrap.selection.max_kept_per_order": config.bootstrap.samples_per_order,  # every chain with the label
        "bootstrap.selection.balance": False,
        "bootstrap.selection.unparseable_as_rejected": False,
        "bootstrap.selection.on_all_wrong": "skip",
        **rates,
        "bootstrap.rationalizer.learning_rate": 2e-5,
        **{f"bootstrap.{fit}.epochs": 3.0 for fit in fits},
        "bootstrap.dpo.beta": 1.0,
        "bootstrap.dpo.label_smoothing": 0.0,
        "bootstrap.dpo.nll_coefficient": 0.0,
        "learner.adam_betas": (0.9, 0.95),
        "learner.weight_decay": 0.1,
        "learner.warmup_ratio": 0.1,
        "learner.schedule": "cosine",
        "evaluation.majority_votes": 32,
    }


def paper_differences(config: RunConfig) -> list[PaperDifference]:
    """Where ``config`` is not the paper's. Raises ConfigError for a reason that no difference needs."""
    reasons = dict(config.paper_differences or {})
    found = []
    for setting, paper in paper_values(config).items():
        here = _value(config, setting)
        if here != paper:
            found.append(PaperDifference(setting, paper, here, reasons.pop(setting, None)))
    if reasons:
        raise ConfigError(
            f"paper_differences gives a reason for {next(iter(reasons))}, which does not differ from what the paper "
            "reports; take it out"
        )
    return found


def _value(config: RunConfig, setting: str) -> Any:
    if setting in ("data.train", "data.test"):
        sources = getattr(config.data, setting.removeprefix("data."))
        return tuple(f"{source.path or source.world} {source.split or ''}".strip() for source in sources)
    value: Any = config
    for name in setting.split("."):
        value = getattr(value, name)
    return value
