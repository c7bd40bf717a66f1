"""Errors for people: one clear sentence that names the file, line or key, and the way out."""

from __future__ import annotations


class GenRMError(Exception):
    """Base of every error that a user can cause or cure; the command line prints its sentence and exits with 2."""


class ConfigError(GenRMError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class DataError(GenRMError):
    """Preference data can't be read or is not what it claims to be."""


class ModelError(GenRMError):
    """A model is absent, incomplete, or not in a form that is safe to load."""


class EnvironmentProblem(GenRMError):
    """Something that the machine must provide is missing."""


class TrainingError(GenRMError):
    """Nothing can be learned: losses or gradients are not finite."""


class JudgeFailure(GenRMError):
    """The judge itself broke; never to be mistaken for a verdict."""


class WeightSyncError(GenRMError):
    """A weight publication was refused: the engine does not compute what the learner computes."""


class StallError(GenRMError):
    """Workers did not answer within their deadline."""


class RunDirectoryError(GenRMError):
    """A run directory belongs to another configuration, is locked, or is incomplete."""
