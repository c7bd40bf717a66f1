"""Every import of OpenRLHF, in one place, and lazily: importing this module pulls in neither OpenRLHF nor DeepSpeed.

Only three of its modules are needed, ``openrlhf.models.loss``, ``openrlhf.models.utils`` and the KL controllers; they
depend on torch and DeepSpeed. The packages around them import flash-attn (CUDA builds only), peft, and a LaTeX parser
as soon as they are touched. So these modules are imported below bare package objects that carry the real search path
and skip the packages' own ``__init__``: nothing has to be installed or imitated for them, and a training worker starts
seconds sooner.

OpenRLHF 0.11.2 is published for Python 3.10 to 3.12. On 3.13 everything works but what learns.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.errors import EnvironmentProblem

_PACKAGES = ("openrlhf", "openrlhf.models", "openrlhf.trainer", "openrlhf.trainer.ppo_utils")


@dataclass(frozen=True)
class OpenRLHFLosses:
    """The pieces of OpenRLHF 0.11 that the objectives are built on."""

    sft: type[Any]
    dpo: type[Any]
    pairwise: type[Any]
    policy: type[Any]
    value: type[Any]
    log_probs_from_logits: Any
    approximate_kl: Any
    adaptive_kl: type[Any]
    fixed_kl: type[Any]


@functools.cache
def losses() -> OpenRLHFLosses:
    """Import OpenRLHF's losses once per process (it pulls in DeepSpeed). Raises EnvironmentProblem if it is absent."""
    import torch

    if not torch.cuda.is_available():  # DeepSpeed warns when it has to find that out by itself
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with _bare_packages():
        loss = importlib.import_module("openrlhf.models.loss")
        tensors = importlib.import_module("openrlhf.models.utils")
        controllers = importlib.import_module("openrlhf.trainer.ppo_utils.kl_controller")
    return OpenRLHFLosses(
        sft=loss.SFTLoss,
        dpo=loss.DPOLoss,
        pairwise=loss.PairWiseLoss,
        policy=loss.PolicyLoss,
        value=loss.ValueLoss,
        log_probs_from_logits=tensors.log_probs_from_logits,
        approximate_kl=tensors.compute_approx_kl,
        adaptive_kl=controllers.AdaptiveKLController,
        fixed_kl=controllers.FixedKLController,
    )


def check_openrlhf() -> Path:
    """Where OpenRLHF's code is. Raises EnvironmentProblem if there is none; jobs that learn ask before they start."""
    spec = importlib.util.find_spec("openrlhf")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if sys.version_info >= (3, 13):
        raise EnvironmentProblem(
            "training needs Python 3.11 or 3.12: OpenRLHF is not published for this one; serving, judging and "
            "evaluating work here"
        )
    raise EnvironmentProblem("the package openrlhf is not installed; run `make setup`")


@contextlib.contextmanager
def _bare_packages() -> Iterator[None]:
    """Stand bare packages in for OpenRLHF's own during the import; take every trace out of sys.modules again."""
    root = check_openrlhf()
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "openrlhf"}
    for name in kept:
        del sys.modules[name]
    try:
        for name in _PACKAGES:
            package = types.ModuleType(name)
            package.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
            package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "openrlhf"]:
            del sys.modules[name]
        sys.modules.update(kept)
