"""Structured logs of the service: one JSON object a line, one line a call, without the texts unless asked."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genrm_rl.errors import ConfigError
from genrm_rl.serving.operations.calls import Call

LOGGER = "genrm_rl.serving"  # of all modules of this package
PROBES = ("/healthz", "/metrics")  # asked every few seconds by whoever watches the service


class JsonFormatter(logging.Formatter):
    """``time`` (UTC), ``level``, ``message``, and the fields given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; line breaks in values are escaped by JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def open_log(path: str | None) -> None:
    """Send the service's log lines to the file ``path``, or to standard error, which Ray keeps per worker.

    Raises ConfigError if the file can't be written.
    """
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(sys.stderr) if path is None else _file_handler(Path(path))
    handler.setFormatter(JsonFormatter())
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_call(call: Call, *, texts: bool) -> None:
    """One line about one call. ``texts`` adds what was compared."""
    fields: dict[str, Any] = {
        "endpoint": call.endpoint,
        "method": call.method,
        "status": call.status,
        "seconds": round(call.seconds, 6),
        "comparisons": len(call.shown),
        "judge_version": call.judge_version,
        "request_id": call.request_id,
    }
    if texts:
        fields["texts"] = [
            {
                "prompt": [[turn.role, turn.content] for turn in shown.prompt],
                "response_a": shown.response_a,
                "response_b": shown.response_b,
                **shown.guide.plain(),
            }
            for shown in call.shown
        ]
    level = logging.DEBUG if call.endpoint in PROBES else logging.INFO
    logging.getLogger(LOGGER).log(level, "call", extra={"fields": fields})


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"serving.log_path {path} can't be written ({problem.strerror})") from problem
