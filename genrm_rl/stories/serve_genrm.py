"""Serve a judge: check, allocate, start, say how to call it, and judge whoever asks until told to stop.

``genrm-rl serve`` and ``jobs/serve_genrm.py``. One level down: ``genrm_rl/serving/``; a call goes through
``ingress.py`` to a replica of the judge.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from genrm_rl.config.serving import ServeConfig
from genrm_rl.learners.probe_record import probe_words
from genrm_rl.models import load_tokenizer
from genrm_rl.runtime.session import ray_session
from genrm_rl.serving.app import address_of, running_service, token_of
from genrm_rl.serving.job import check_port, wait_for_a_signal
from genrm_rl.serving.operations.call_log import open_log
from genrm_rl.serving.replicas.judge_apps import cache_file, judge_to_serve

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
