"""The serving job: start the service, say how to call it, and stay until told to stop."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

from rich.console import Console

from genrm_rl.config.serving import ServeConfig, ServingConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.learners.probe_record import probe_words
from genrm_rl.models import load_tokenizer
from genrm_rl.runtime.session import ray_session
from genrm_rl.serving.app import address_of, running_service, token_of
from genrm_rl.serving.call_log import open_log
from genrm_rl.serving.judge_apps import cache_file, judge_to_serve

EXAMPLE = """curl {address}/v1/judgments {token}-H 'Content-Type: application/json' -d '{{"comparisons": [
  {{"prompt": "sort cdbge", "response_a": "bcdeg", "response_b": "bcdig"}}], "rationales": true}}'"""


def serve_judge(config: ServeConfig, console: Console) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted; a second signal ends at once. Raises GenRMError
    before anything is started."""
    token = token_of(config)
    judge = judge_to_serve(config)
    if config.serving.policy_tokenizer:
        load_tokenizer(Path(config.serving.policy_tokenizer))
    passed, words = probe_words(judge.path)
    style = "red" if passed is False else None
    check_port(config.serving)
    cache_file(config.serving)
    open_log(config.serving.log_path)
    with ray_session():
        address = address_of(config.serving)
        console.print(f"starting {judge.name} ({judge.version}); {address} tells callers to wait", highlight=False)
        with running_service(config, judge):
            header = f"-H 'Authorization: Bearer '${config.serving.token_variable} " if token else ""
            console.print(f"{judge.version}: {words}", style=style, highlight=False, markup=False)
            console.print(
                f"serving on {address}: a page for people there, the schema at {address}/docs; try:", highlight=False
            )
            console.print(EXAMPLE.format(address=address, token=header), highlight=False, markup=False, soft_wrap=True)
            wait_for_a_signal()
            console.print("stopping; accepted requests are finished first (a second signal ends at once)")


def wait_for_a_signal() -> None:
    """Return at the first SIGINT or SIGTERM. The handlers are set here, after ``ray.init``, which sets its own."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_port(serving: ServingConfig) -> None:
    """Raise EnvironmentProblem if the port can't be bound."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as problem:
            raise EnvironmentProblem(
                f"{serving.host}:{serving.port} can't be listened on ({problem.strerror}); choose another "
                "--serving.port or --serving.host"
            ) from problem
