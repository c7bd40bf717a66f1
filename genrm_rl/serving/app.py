"""The Serve application: which judge, how many replicas, where it listens."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genrm_rl.config.serving import LOOPBACK, ServeConfig, ServingConfig
from genrm_rl.errors import ConfigError, ModelError
from genrm_rl.judging.judge import Judge, JudgeKind
from genrm_rl.models import resolve_model
from genrm_rl.rollout.resources import choose_device, engine_bundle
from genrm_rl.rollout.settings import engine_settings
from genrm_rl.runtime.storage import is_complete, read_manifest
from genrm_rl.serving.judge_replica import JudgeReplica, ServedJudge
from genrm_rl.serving.scalar_replica import ScalarReplica
from genrm_rl.serving.verdict_cache import VerdictCache

APP = "genrm_rl"
START_SECONDS = 600.0
KIND_OF_OBJECTIVE: dict[str, JudgeKind] = {
    "sft": "generative",
    "dpo": "generative",
    "direct": "generative",
    "bradley_terry": "bradley_terry",
    "pairrm": "pairrm",
}


def judge_to_serve(config: ServeConfig) -> Judge:
    """The judge that ``serving.checkpoint`` names. Raises ModelError if there is no finished one."""
    serving = config.serving
    if serving.checkpoint == "base":
        return Judge("llm_judge", "generative", resolve_model(config.model).path, "base", serving.form)
    path = Path(serving.checkpoint).resolve()
    if not path.is_dir() or not is_complete(path):
        raise ModelError(
            f"serving.checkpoint {serving.checkpoint} is not a finished checkpoint; give the checkpoint directory of "
            "a run, e.g. runs/ID/methods/star_dpo/round1/checkpoint, or `base`"
        )
    manifest = read_manifest(path)
    kind = KIND_OF_OBJECTIVE.get(manifest.get("objective", ""))
    if kind is None:
        raise ModelError(
            f"serving.checkpoint {serving.checkpoint} holds {manifest.get('objective') or 'no checkpoint'}, "
            "which is no judge; give a checkpoint of star_sft, star_dpo, genrm_direct, bradley_terry or pairrm"
        )
    resolve_model(config.model.model_copy(update={"name": str(path), "revision": None}))
    form = None if kind != "generative" else "direct" if manifest["objective"] == "direct" else serving.form
    return Judge(path.parent.parent.name, kind, path, manifest["version"], form)


def token_of(config: ServeConfig) -> str:
    """The bearer token, empty on loopback without one. Raises ConfigError for an open port without a token."""
    serving = config.serving
    token = os.environ.get(serving.token_variable, "")
    if serving.host not in LOOPBACK and not token:
        raise ConfigError(
            f"serving.host {serving.host} can be reached from other machines; set a token in the environment variable "
            f"{serving.token_variable}, or bind 127.0.0.1"
        )
    return token


def cache_file(serving: ServingConfig) -> str | None:
    """Absolute path of the verdict cache. Raises ConfigError if the file can't be used."""
    if serving.cache_path is None:
        return None
    path = str(Path(serving.cache_path).expanduser().resolve())
    VerdictCache(0, path).close()
    return path


@contextmanager
def running_service(config: ServeConfig, judge: Judge) -> Iterator[str]:
    """Serve ``judge`` in the connected Ray; yields the address when it answers, and drains it at the end."""
    from ray import serve

    serving = config.serving
    token = token_of(config)
    # Serve greets at length, and warns that `run` does not repeat what `start` was told.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": serving.host, "port": serving.port})
    try:
        serve.run(application(config, judge, token), name=APP, route_prefix="/")
        serve.get_deployment_handle("Judge", APP).ready.remote().result(timeout_s=START_SECONDS)
        yield f"http://{serving.host}:{serving.port}"
    finally:
        serve.shutdown()


def _anywhere(serving: ServingConfig) -> ServingConfig:
    """``serving`` with absolute paths: Ray's workers stand in another folder."""
    log = serving.log_path
    return serving.model_copy(update={"log_path": log and str(Path(log).expanduser().resolve())})


def application(config: ServeConfig, judge: Judge, token: str):
    """The bound application: one ingress in front of autoscaled judge replicas."""
    from ray import serve

    from genrm_rl.serving.ingress import RewardService

    serving, device = _anywhere(config.serving), choose_device()
    settings = engine_settings(judge.path, config.rollout, config.model, device)
    served = ServedJudge(
        settings,
        judge.version,
        judge.form,
        config.judge,
        config.seed,
        serving.cache_entries,
        cache_file(serving),
        judge.kind,
    )
    bundle = engine_bundle(config.rollout, device)
    replicas = serve.deployment(
        JudgeReplica if judge.kind == "generative" else ScalarReplica,
        name="Judge",
        autoscaling_config={
            "min_replicas": serving.min_replicas,
            "max_replicas": serving.max_replicas,
            "target_ongoing_requests": serving.target_ongoing,
        },
        # The ingress admits; a replica takes what it is given and vLLM batches it.
        max_ongoing_requests=serving.max_pending,
        health_check_period_s=2,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=serving.deadline,
        ray_actor_options={"num_cpus": bundle["CPU"], "num_gpus": bundle.get("GPU", 0)},
    )
    ingress = serve.deployment(
        RewardService,
        name="Ingress",
        max_ongoing_requests=4 * serving.max_pending,
        graceful_shutdown_timeout_s=serving.deadline,
        ray_actor_options={"num_cpus": 0.1},
    )
    return ingress.bind(replicas.bind(served), serving, served, token)
