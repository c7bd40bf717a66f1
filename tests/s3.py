"""A local S3 server (moto) that can go away and come back with what it has."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from genrm_rl.runtime.machine_checks import free_port

BUCKET = "bucket"


class S3Server:
    """On a free loopback port; ``environment`` is what a process needs to use it."""

    def __init__(self, scratch: Path) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._port = free_port()
        self.start()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GENRM_RL_SCRATCH": str(scratch),
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self.client.create_bucket(Bucket=BUCKET)

    def start(self) -> None:
        """Also after :meth:`stop`."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Connections are refused from now on."""
        self._server.stop()

    def objects(self, prefix: str = "") -> list[str]:
        """All objects below ``prefix``."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def use(server: S3Server, monkeypatch, scratch: Path) -> None:
    """This process works with the server, in working copies below ``scratch``."""
    for name, value in (os.environ | server.environment | {"GENRM_RL_SCRATCH": str(scratch)}).items():
        monkeypatch.setenv(name, value)
