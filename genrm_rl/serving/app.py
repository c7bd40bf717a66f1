"""The Serve application: which judge, how many replicas, where it listens."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray import serve

from genrm_rl.config.serving import LOOPBACK, ServeConfig
from genrm_rl.errors import ConfigError
from genrm_rl.judging.judge import Judge
from genrm_rl.learners.judge_checkpoint import judge_in
from genrm_rl.models import resolve_model
from genrm_rl.serving.judge_apps import APP, served_judge, start_judge


def judge_to_serve(config: ServeConfig) -> Judge:
    """The judge that ``serving.checkpoint`` names. Raises ModelError if there is no finished one."""
    serving = config.serving
    if serving.checkpoint == "base":
        return Judge("llm_judge", "generative", resolve_model(config.model).path, "base", serving.form)
    return judge_in(serving.checkpoint, config.model, serving.form, untrained="base")


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


@contextmanager
def running_service(config: ServeConfig, judge: Judge) -> Iterator[str]:
    """Serve ``judge`` in the connected Ray; yields the address when it answers, and drains it at the end."""
    serving = config.serving
    token = token_of(config)
    # Serve greets at length, and warns that `run` does not repeat what `start` was told.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": serving.host, "port": serving.port})
    try:
        deploy(config, judge, token)
        yield f"http://{serving.host}:{serving.port}"
    finally:
        serve.shutdown()


def deploy(config: ServeConfig, judge: Judge, token: str, name: str = APP, route_prefix: str = "/") -> None:
    """Start the judge, then one ingress in front of it, in the Serve that runs."""
    from genrm_rl.serving.ingress import RewardService

    log = config.serving.log_path  # absolute: Ray's workers stand in another folder
    serving = config.serving.model_copy(update={"log_path": log and str(Path(log).expanduser().resolve())})
    config = config.model_copy(update={"serving": serving})
    start_judge(config, served_judge(config, judge), name)
    ingress = serve.deployment(
        RewardService,
        name="Ingress",
        max_ongoing_requests=4 * serving.max_pending,
        graceful_shutdown_timeout_s=serving.deadline,
        ray_actor_options={"num_cpus": 0.1},
    )
    serve.run(ingress.bind(config, token), name=name, route_prefix=route_prefix)
