"""The port of Serve's replicas, which unpickles what it is sent, offers nothing and is not in the network."""

from __future__ import annotations

import asyncio
import inspect

import grpc
import psutil
import pytest

from genrm_rl.serving.replicas.replica_port import _offer_nothing


def test_a_replica_offers_nothing_between_deployments():
    async def call() -> None:
        server = grpc.aio.server()
        _offer_nothing(object(), server)
        port = server.add_insecure_port("[::]:0")
        await server.start()
        found = [
            c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN" and c.laddr.port == port
        ]
        assert [ip.removeprefix("::ffff:") for ip in found] == ["127.0.0.1"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=30)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        await server.stop(None)

    asyncio.run(call())


def test_serve_still_opens_it_in_the_way_that_is_closed():
    from ray.serve._private.replica import Replica

    source = inspect.getsource(Replica._on_initialized)
    added, bound = (source.index(word) for word in ("add_ASGIServiceServicer_to_server(", ".add_insecure_port("))
    assert added < bound
