"""One broker URL for the client, Celery's broker and its result backend."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from celery.result import AsyncResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kombu.exceptions import OperationalError

from bus.celery_app import DISPATCH_TASK, EVENTS_QUEUE, celery_app, queue_length, worker_app
from bus.connection import celery_url, connect
from rehearsal.redis_server import RedisServer, free_port
from schemas.settings import Settings
from tests.sentinels import MASTER, SENTINEL_PASSWORD, followed, watched
from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # by Celery

_TIMEOUT = 20.0  # seconds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test only, with a password."""
    with RedisServer(tmp_path / "redis", password="open sesame") as running:
        yield running


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Puts a URL into the environment, where Celery reads it, too."""

    def put(url: str) -> Settings:
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        monkeypatch.setenv("WEIGHBRIDGE_REDIS_MASTER", MASTER)
        return Settings()

    return put


def _serve_all(settings: Settings) -> None:
    """Our client, the broker and the result backend reach one Redis."""
    app = worker_app(settings)
    app.send_task(DISPATCH_TASK, args=[[]])
    app.backend.store_result("a task", {"step": "download"}, "PROGRESS")
    assert AsyncResult("a task", app=app).info == {"step": "download"}
    with connect(settings.broker_url, settings.redis_master) as client:
        assert queue_length(client, EVENTS_QUEUE) == 1
        assert client.ttl("weighbridge:celery-task-meta-a task") > 0
    app.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, port: int, context: ssl.SSLContext | None) -> None:
    with suppress(OSError), ExitStack() as stack:
        while True:
            accepted, _ = listening.accept()
            stack.enter_context(accepted)
            with suppress(ssl.SSLError):
                inner = context.wrap_socket(accepted, server_side=True) if context else accepted
                stack.enter_context(inner)
                outer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for ends in ((inner, outer), (outer, inner)):
                    threading.Thread(target=_pump, args=ends, daemon=True).start()


@contextmanager
def _forwarded(
    listening: socket.socket, port: int, context: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Pass on what comes to a listening socket: this Redis was built without TLS."""
    arguments = (listening, port, context)
    thread = threading.Thread(target=_serve, args=arguments, daemon=True)
    thread.start()
    yield
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    listening.close()


def _certificate(folder: Path) -> Path:
    """A key and its own certificate, for this machine, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "this Redis")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "redis.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return pem


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return _certificate(tmp_path)


@pytest.fixture
def tls_url(server: RedisServer, certificate: Path) -> Iterator[str]:
    """The server's, through TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with _forwarded(listening, server.port, context):
        yield server.url.replace("redis://", "rediss://").replace(str(server.port), str(port))


def test_a_url_with_a_password_serves_client_broker_and_backend(
    server: RedisServer, told: Callable[[str], Settings]
) -> None:
    _serve_all(told(server.url))


def test_a_tls_url_serves_client_broker_and_backend(
    tls_url: str, certificate: Path, told: Callable[[str], Settings]
) -> None:
    _serve_all(told(f"{tls_url}?ssl_ca_certs={certificate}"))


def test_an_untrusted_certificate_is_refused_by_client_and_broker(
    tls_url: str, told: Callable[[str], Settings]
) -> None:
    with connect(tls_url) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE"):
        client.ping()
    app = celery_app(told(tls_url))
    with pytest.raises(OperationalError, match="CERTIFICATE"):
        app.send_task(DISPATCH_TASK, args=[[]])
    app.close()


def test_a_socket_url_serves_client_broker_and_backend(
    server: RedisServer, told: Callable[[str], Settings]
) -> None:
    path = Path("/tmp") / f"weighbridge-{server.port}.sock"  # a longer path would be no address
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    with _forwarded(listening, server.port):
        _serve_all(told(f"unix://:open%20sesame@{path}?db=0"))
    path.unlink()


@pytest.fixture
def sentinels(server: RedisServer, tmp_path: Path) -> Iterator[tuple[int, int]]:
    with watched(server, tmp_path) as ports:
        yield ports


def test_a_sentinel_url_serves_client_broker_and_backend(
    sentinels: tuple[int, int], told: Callable[[str], Settings]
) -> None:
    first, second = sentinels
    url = (
        f"sentinel://:open%20sesame@127.0.0.1:{first};"
        f"sentinel://127.0.0.1:{second}/0?sentinel_password={SENTINEL_PASSWORD}"
    )
    _serve_all(told(url))


def test_an_unavailable_sentinel_is_skipped(
    sentinels: tuple[int, int], told: Callable[[str], Settings]
) -> None:
    _, second = sentinels
    url = (
        f"sentinel://:open%20sesame@127.0.0.1:{free_port()};"
        f"sentinel://127.0.0.1:{second}/0?sentinel_password={SENTINEL_PASSWORD}"
    )
    _serve_all(told(url))


@pytest.fixture
def replica(server: RedisServer, tmp_path: Path) -> Iterator[redis.Redis]:
    with followed(server, tmp_path) as client:
        yield client


def _accepted(send: Callable[[], object]) -> bool:
    with suppress(redis.ConnectionError, redis.TimeoutError, OperationalError):
        send()
        return True
    return False


def test_a_client_and_an_app_follow_the_sentinels_to_a_replica(
    server: RedisServer,
    replica: redis.Redis,
    sentinels: tuple[int, int],
    told: Callable[[str], Settings],
) -> None:
    ports = ";".join(f"sentinel://:open%20sesame@127.0.0.1:{port}" for port in sentinels)
    settings = told(f"{ports}/0?sentinel_password={SENTINEL_PASSWORD}")
    app = celery_app(settings)
    with connect(settings.broker_url, settings.redis_master) as client:
        client.set("weighbridge:kept", "yes")
        app.send_task(DISPATCH_TASK, args=[[]])
        wait_for(lambda: queue_length(replica, EVENTS_QUEUE) == 1, _TIMEOUT)
        server.kill()
        wait_for(lambda: _accepted(lambda: client.set("weighbridge:new", "yes")), _TIMEOUT)
        wait_for(lambda: _accepted(lambda: app.send_task(DISPATCH_TASK, args=[[]])), _TIMEOUT)
        assert replica.mget("weighbridge:kept", "weighbridge:new") == ["yes", "yes"]
        assert queue_length(replica, EVENTS_QUEUE) == 2
    app.close()


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("redis://:pw@host:6379/1", "redis://:pw@host:6379/1"),
        ("rediss://host/1", "rediss://host/1?ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        (
            "sentinel://u:p%40@one;sentinel://two:7/4?sentinel_password=x",
            "sentinel://u:p%40@one:26379/4;sentinel://u:p%40@two:7/4",
        ),
    ],
)
def test_the_url_is_converted_for_celery(url: str, same: str) -> None:
    assert celery_url(url) == same


def test_a_client_and_an_app_survive_a_restart_of_redis(
    server: RedisServer, told: Callable[[str], Settings]
) -> None:
    app = celery_app(told(server.url))
    with connect(server.url) as client:
        app.send_task(DISPATCH_TASK, args=[[]])
        client.set("weighbridge:kept", "yes")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("weighbridge:kept")
        with pytest.raises(OperationalError):
            app.send_task(DISPATCH_TASK, args=[[]])
        server.start()
        assert client.get("weighbridge:kept") == "yes"
        app.send_task(DISPATCH_TASK, args=[[]])
        assert queue_length(client, EVENTS_QUEUE) == 2
    app.close()


def test_a_short_outage_of_redis_goes_unnoticed(server: RedisServer) -> None:
    with connect(server.url) as client:
        client.set("weighbridge:kept", "yes")
        server.stop()
        back = threading.Timer(0.2, server.start)
        back.start()
        assert client.get("weighbridge:kept") == "yes"
        back.join()
