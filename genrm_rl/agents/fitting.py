"""The supervised fit that both cloning and the training of a step judge end in."""

from __future__ import annotations

from pathlib import Path

from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.model import FitConfig
from genrm_rl.learners.fit import FitResult, FitSpec, fit
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import file_hash

EXAMPLES_FILE = "examples.arrow"


def supervised_fit(
    config: AgentConfig, run: RunDirectory, settings: FitConfig, base: Path, examples: Path, *, output: str, name: str
) -> FitResult:
    """Fit ``base`` to the turns in ``examples``, a folder with EXAMPLES_FILE; the checkpoint is ``output`` of the run.
    A call after a kill goes on from the fit's own checkpoints."""
    file = examples / EXAMPLES_FILE
    with ray_session():
        return fit(
            FitSpec(
                objective="sft",
                model_dir=base,
                examples_path=file,
                output_dir=run.path / output,
                fit=settings,
                learner=config.learner,
                seed=config.run.seed,
                parent_version="base",
                config_hash=run.hash,
                data_hashes={file.name: file_hash(file)},
                name=name,
            )
        )
