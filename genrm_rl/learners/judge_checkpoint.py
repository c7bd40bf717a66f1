"""The judge that a finished checkpoint holds."""

from __future__ import annotations

from genrm_rl.config.model import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.judging.judge import WITH_HEAD, Judge, JudgeKind
from genrm_rl.judging.types import Asked, Form
from genrm_rl.learners.checkpoint import SCORE_HEAD_FILE
from genrm_rl.models import resolve_model
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import is_complete, read_manifest
from genrm_rl.runtime.store_paths import working_path

EXAMPLE = "runs/ID/methods/star_dpo/round1/checkpoint"
KIND_OF_OBJECTIVE: dict[str, JudgeKind] = {
    "sft": "generative",
    "dpo": "generative",
    "direct": "generative",
    "verdict_rl": "generative",
    "self_distilled": "generative",
    "bradley_terry": "bradley_terry",
    "pairrm": "pairrm",
    "points": "points",
}


def judge_in(directory: str, model: ModelConfig, form: Asked, *, untrained: str) -> Judge:
    """The judge in a checkpoint directory, asked by ``form`` if it writes and was not trained to be ``direct``; what
    writes can be asked for ``points``.

    ``untrained`` is the caller's word for the judge without a checkpoint. Raises ModelError for what is no finished
    judge, or holds a model that can't be used.
    """
    path = working_path(directory).resolve()
    fetch(path)
    if not path.is_dir():
        raise ModelError(
            f"{directory} is no judge: give `{untrained}` or the checkpoint directory of a run, e.g. {EXAMPLE}"
        )
    if not is_complete(path):
        raise ModelError(
            f"{directory} has no completion marker, so its checkpoint was never finished; resume the run that writes "
            f"it (a model that no run made is `{untrained}` with --model.name {directory})"
        )
    manifest = read_manifest(path)
    kind = KIND_OF_OBJECTIVE.get(manifest.get("objective", ""))
    if kind is None:
        raise ModelError(
            f"{directory} holds the stage {manifest.get('stage', 'of something else')} and no checkpoint of a judge; "
            f"give the checkpoint directory of a run, e.g. {EXAMPLE}"
        )
    resolve_model(model.model_copy(update={"name": str(path), "revision": None}))
    if kind in WITH_HEAD and not (path / SCORE_HEAD_FILE).is_file():
        raise ModelError(
            f"{directory} has no {SCORE_HEAD_FILE}; give a checkpoint of objective bradley_terry or pairrm"
        )
    if form == "points" and kind == "generative":
        kind = "points"
    asked: Form | None = None if kind != "generative" else "direct" if manifest["objective"] == "direct" else form
    return Judge(path.parent.parent.name or "judge", kind, path, manifest.get("version", path.name), asked)
