import socket
from itertools import chain

import pytest

from rehearsal import redis_server


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_a_port_that_another_process_uses_or_reserved_is_skipped(
    kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(type=kind) as used:
        used.bind(("127.0.0.1", 0))
        port, others = used.getsockname()[1], redis_server._PORTS
        monkeypatch.setattr(redis_server, "_PORTS", chain([port], others))
        assert redis_server.free_port() != port


def test_a_reserved_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", redis_server.free_port())):
        pass
