"""A job that owns a service is ended by SIGTERM as by an exception, so that what it holds is closed in order."""

from __future__ import annotations

import os
import signal

import pytest

from genrm_rl.config.serving import ServingConfig
from genrm_rl.serving.app import address_of, ended_in_order


def test_sigterm_unwinds_and_the_handler_before_is_back() -> None:
    before, closed = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as ended, ended_in_order():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            closed.append("the service")
    assert (ended.value.code, closed) == (128 + signal.SIGTERM, ["the service"])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")])
def test_the_address_can_be_called(host: str, url: str) -> None:
    assert address_of(ServingConfig(host=host)) == url
