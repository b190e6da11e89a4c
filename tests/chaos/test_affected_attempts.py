from pathlib import Path

import redis

from rehearsal.redis_server import RedisServer
from tests.chaos.affected_attempts import refused_connections, waiting_clients
from tests.waiting import wait_for


def test_clients_of_a_paused_redis_wait_until_it_resumes(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        connection = client.connection_pool.get_connection()
        assert waiting_clients(server.port) == 0
        server.pause()
        connection.send_command("PING")
        wait_for(lambda: waiting_clients(server.port) == 1, 5)
        server.resume()
        assert connection.read_response() == b"PONG"
        assert waiting_clients(server.port) == 0
        client.connection_pool.release(connection)


def test_refused_connections_are_counted_from_the_call_on(tmp_path: Path) -> None:
    log = tmp_path / "poller.log"
    line = "Error 111 connecting to 127.0.0.1:26583. Connection refused.\n"
    log.write_text(line)
    count = refused_connections(tmp_path, 26583)
    assert count() == 0
    log.write_text(line + line + line.replace("26583", "26584"))
    assert count() == 1
