"""Judges as Serve applications of their own beside the ingress's, so that one can start while another still answers.

They are named ``SERVICE.judgeN``; the newest that has started is the one that is served. Serve keeps these names over
crashes, so an ingress that is restarted finds its judge by them.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, ReplicaState

from genrm_rl.config.serving import ServeConfig, ServingConfig
from genrm_rl.judging.judge import Judge, untrained_judge
from genrm_rl.learners.judge_checkpoint import judge_in
from genrm_rl.models import resolve_model
from genrm_rl.rollout.resources import choose_device, engine_bundle
from genrm_rl.rollout.settings import engine_settings
from genrm_rl.serving.replicas.judge_replica import JudgeReplica, ServedJudge
from genrm_rl.serving.replicas.scalar_replica import ScalarReplica
from genrm_rl.serving.replicas.verdict_cache import VerdictCache

APP = "genrm_rl"
DEPLOYMENT = "Judge"
CONSTRUCTIONS = 3  # of a replica that fails as it starts; then the judge has failed to start
BATCH = 16  # comparisons of one call to a replica at most, fewer with more votes
STARTED = (ApplicationStatus.RUNNING, ApplicationStatus.UNHEALTHY)


def judge_to_serve(config: ServeConfig) -> Judge:
    """The judge that ``serving.checkpoint`` names. Raises ModelError if there is no finished one."""
    serving = config.serving
    if serving.checkpoint == "base":
        return untrained_judge(resolve_model(config.model).path, serving.form)
    return judge_in(serving.checkpoint, config.model, serving.form, untrained="base")


def served_judge(config: ServeConfig, judge: Judge) -> ServedJudge:
    """What the replicas of ``judge`` are told. Raises ModelError for a context that the model was not made for."""
    serving = config.serving
    return ServedJudge(
        engine_settings(judge.path, config.rollout, config.model, choose_device(config.rollout)),
        judge.version,
        judge.form,
        config.judge,
        config.seed,
        serving.cache_entries,
        cache_file(serving),
        judge.kind,
    )


def start_judge(config: ServeConfig, served: ServedJudge, service: str) -> str:
    """Start replicas of a judge for ``service``; returns their application when they can answer. A judge that can't be
    started leaves nothing behind, and raises what Serve raises."""
    name = f"{service}.judge{1 + max(_numbered(service), default=0)}"
    with ExitStack() as undo:
        undo.callback(serve.delete, name)
        target = serve.RunTarget(_application(config, served), name=name, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)  # which would wait for ever for a GPU
        judge_handle(name).ready.remote().result(timeout_s=config.rollout.startup_deadline)
        undo.pop_all()
    return name


def reason_of(problem: BaseException) -> str:
    """The last line of what Ray raised, which is the error itself below its traceback."""
    *_, reason = type(problem).__name__, *str(problem).strip().splitlines()
    return reason


def judge_apps(service: str) -> list[str]:
    """Applications of the judges of ``service`` that have started, the oldest first."""
    numbered = _numbered(service)
    return [name for _, (name, status) in sorted(numbered.items()) if status in STARTED]


def judge_handle(app: str) -> DeploymentHandle:
    """What the replicas of one judge are called with."""
    return serve.get_deployment_handle(DEPLOYMENT, app)


def replicas_up(app: str) -> int:
    """Replicas of one judge that can be called now."""
    found = serve.status().applications.get(app)
    judge = found.deployments.get(DEPLOYMENT) if found else None
    return judge.replica_states.get(ReplicaState.RUNNING, 0) if judge else 0


def cache_file(serving: ServingConfig) -> str | None:
    """Absolute path of the verdict cache. Raises ConfigError if the file can't be used."""
    if serving.cache_path is None:
        return None
    path = str(Path(serving.cache_path).expanduser().resolve())
    VerdictCache(0, path).close()
    return path


def current_judge(service: str = APP) -> DeploymentHandle:
    """The replicas of the judge that answers, for operators and drills."""
    return judge_handle(judge_apps(service)[-1])


def _numbered(service: str) -> dict[int, tuple[str, ApplicationStatus]]:
    """All applications of judges of ``service`` by their number."""
    named = re.compile(rf"{re.escape(service)}\.judge(\d+)")
    found = {}
    for name, app in serve.status().applications.items():
        match = named.fullmatch(name)
        if match:
            found[int(match[1])] = (name, app.status)
    return found


def _application(config: ServeConfig, served: ServedJudge) -> serve.Application:
    """Autoscaling replicas of one judge."""
    serving, bundle = config.serving, engine_bundle(config.rollout, served.engine.device)
    return serve.deployment(
        JudgeReplica if served.kind == "generative" else ScalarReplica,
        name=DEPLOYMENT,
        autoscaling_config={
            "min_replicas": serving.min_replicas,
            "max_replicas": serving.max_replicas,
            "target_ongoing_requests": max(1.0, serving.target_ongoing / BATCH),
        },
        # The ingress admits; a replica takes what it is given and vLLM batches it.
        max_ongoing_requests=serving.max_pending,
        max_constructor_retry_count=CONSTRUCTIONS,
        health_check_period_s=2,
        health_check_timeout_s=60,
        graceful_shutdown_timeout_s=serving.deadline,
        ray_actor_options={"num_cpus": bundle["CPU"], "num_gpus": bundle.get("GPU", 0)}
        | ({"label_selector": {"pool": config.rollout.pool}} if config.rollout.pool else {}),
    ).bind(served)
