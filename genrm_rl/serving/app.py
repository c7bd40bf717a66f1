"""The Serve application: which judge, how many replicas, where it listens."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray import serve
from ray.exceptions import RayError
from ray.serve.config import DeploymentMode, HTTPOptions
from ray.serve.exceptions import RayServeException

from genrm_rl.config.serving import LOOPBACK, ServeConfig, ServingConfig
from genrm_rl.errors import ConfigError, JudgeFailure
from genrm_rl.judging.judge import Judge
from genrm_rl.serving.ending import end_serve
from genrm_rl.serving.ingress import RewardService
from genrm_rl.serving.operations.proxy import threshold
from genrm_rl.serving.replicas.judge_apps import APP, reason_of, served_judge, start_judge

INGRESS = "Ingress"
QUIET = {"enable_access_log": False}  # of Serve: the service keeps its own (serving/operations/call_log.py)
GRACE = 5.0  # seconds that answers may need beyond their deadline
HANDED_OVER_SECONDS = 1.0  # in which the proxy sends the last answers on
_log = logging.getLogger(__name__)


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
    """Serve ``judge`` in the connected Ray; yields the address when it answers.

    Whatever ends the block, SIGTERM included, the service takes no more calls from then on and answers those that it
    has accepted before it goes. Raises JudgeFailure if the judge does not start.
    """
    serving = config.serving
    token = token_of(config)
    # Serve greets at length, and warns that `run` does not repeat what `start` was told.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with ended_in_order():
        start_proxies(serving)
        try:
            deploy(config, judge, token)
            try:
                yield address_of(serving)
            finally:
                drain(serving)
        finally:
            end_serve()


def start_proxies(serving: ServingConfig) -> None:
    """Start Serve and its HTTP proxies, with what runs in them (``serving/operations/proxy.py``)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Passing `middlewares` to HTTPOptions is deprecated")
        options = HTTPOptions(
            host=serving.host,
            port=serving.port,
            middlewares=[threshold(serving.read_deadline)],
            location=DeploymentMode.EveryNode,
        )
        serve.start(http_options=options, logging_config=QUIET)


def address_of(serving: ServingConfig) -> str:
    """Where the service listens, as a URL."""
    return f"http://{f'[{serving.host}]' if ':' in serving.host else serving.host}:{serving.port}"


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM ends the block as an exception does. Ray's own handler, which ``ray.init`` sets, kills all of its
    processes first, and with them every call that is under way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def drain(serving: ServingConfig, name: str = APP) -> None:
    """Take no more calls, and wait until those that were accepted are answered."""
    try:
        accepted = serve.get_deployment_handle(INGRESS, name).drain.remote().result(timeout_s=serving.deadline + GRACE)
        if accepted:
            time.sleep(HANDED_OVER_SECONDS)
    except (RayError, RayServeException, TimeoutError) as problem:
        _log.warning("the service ends with calls unanswered: %s", reason_of(problem))


def deploy(config: ServeConfig, judge: Judge, token: str, name: str = APP, route_prefix: str = "/") -> None:
    """Start an ingress, which tells callers to wait, and the judge behind it; returns when it answers.

    Raises JudgeFailure if the judge does not start, within ``rollout.startup_deadline`` or at all.
    """
    log = config.serving.log_path  # absolute: Ray's workers stand in another folder
    serving = config.serving.model_copy(update={"log_path": log and str(Path(log).expanduser().resolve())})
    config = config.model_copy(update={"serving": serving})
    ingress = serve.deployment(
        RewardService,
        name=INGRESS,
        max_ongoing_requests=4 * serving.max_pending,
        logging_config=QUIET,
        graceful_shutdown_timeout_s=serving.deadline,
        ray_actor_options={"num_cpus": 0.1},
    )
    target = serve.RunTarget(ingress.bind(config, token), name=name, route_prefix=route_prefix)
    serve.run_many([target], wait_for_applications_running=False)
    seconds = config.rollout.startup_deadline
    try:
        start_judge(config, served_judge(config, judge), name)
        serve.get_deployment_handle(INGRESS, name).opened.remote().result(timeout_s=seconds)
    except TimeoutError:
        raise JudgeFailure(
            f"judge {judge.version} did not answer within {seconds:g} s (rollout.startup_deadline)"
        ) from None
    except (RayError, RayServeException, RuntimeError) as problem:
        raise JudgeFailure(f"judge {judge.version} did not start: {reason_of(problem)}") from problem
