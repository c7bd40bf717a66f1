"""Typed run configuration: pydantic sections, YAML files, dotted overrides. Imports nothing heavy."""

from genrm_rl.config.bootstrap import (
    ITERATED,
    ON_POLICY,
    BootstrapConfig,
    EvaluationConfig,
    Method,
    RunConfig,
    RunSettings,
    SelectionConfig,
    TrackingConfig,
)
from genrm_rl.config.data import ColumnMap, DataConfig, SourceConfig, WorldConfig
from genrm_rl.config.model import FitConfig, JudgeConfig, LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.config.on_policy import OnPolicyConfig, SelfDistilledConfig, VerdictRLConfig

__all__ = [
    "ITERATED",
    "ON_POLICY",
    "BootstrapConfig",
    "ColumnMap",
    "DataConfig",
    "EvaluationConfig",
    "FitConfig",
    "JudgeConfig",
    "LearnerConfig",
    "Method",
    "ModelConfig",
    "OnPolicyConfig",
    "RolloutConfig",
    "RunConfig",
    "RunSettings",
    "SelectionConfig",
    "SelfDistilledConfig",
    "SourceConfig",
    "TrackingConfig",
    "VerdictRLConfig",
    "WorldConfig",
]
