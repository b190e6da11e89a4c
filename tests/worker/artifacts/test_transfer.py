"""Downloads from a real local W&B over connections that break."""

import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
import wandb

from engine.options import ignore_progress
from local_wandb import LocalWandb
from rehearsal.processes import stop_on_exit, wait_until
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from worker.artifacts.download import downloaded

_LARGE = 3_000_000  # bytes of a file whose transfer is cut
_CUT = 1_200_000  # bytes after which it is cut
_TIMEOUT = 120.0  # seconds; a hang must not hold the whole suite

Log = Callable[..., ArtifactRef]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache")


class _Relay(socketserver.ThreadingTCPServer):
    """A proxy in front of the local W&B that interferes with the next large response.

    Attributes:
        offsets: The first byte that each request for a file has asked for so far.
        closes: Whether the next large response ends after ``_CUT`` bytes.
        lets_pass: Large responses wait after ``_CUT`` bytes until this is set.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.target = urlsplit(url)
        self.offsets: list[int] = []
        self.closes = False
        self.lets_pass = threading.Event()
        self.lets_pass.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def interferes(self) -> bool:
        """Return whether to cut the response here; may block until it may pass."""
        closes, self.closes = self.closes, False
        return closes or not self.lets_pass.wait(_TIMEOUT)


class _Relayed(socketserver.BaseRequestHandler):
    """One connection."""

    server: _Relay

    def handle(self) -> None:
        host, port = self.server.target.hostname, self.server.target.port
        with socket.create_connection((host, port)) as upstream:
            answers = threading.Thread(target=self._answer, args=(upstream,))
            answers.start()
            with suppress(OSError):
                while request := self.request.recv(65536):
                    self._note(request)
                    upstream.sendall(request)
                upstream.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _note(self, request: bytes) -> None:
        wanted = re.match(rb"GET /storage/.*\r\nRange: bytes=(\d+)-", request, re.DOTALL)
        if wanted:
            self.server.offsets.append(int(wanted[1]))

    def _answer(self, upstream: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while answer := upstream.recv(65536):
                self.request.sendall(answer)
                passed += len(answer)
                if passed > _CUT and self.server.interferes():
                    break
            self.request.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(local_wandb: LocalWandb) -> Iterator[_Relay]:
    with _Relay(local_wandb.url) as relay:
        serving = threading.Thread(target=relay.serve_forever)
        serving.start()
        yield relay
        relay.lets_pass.set()
        relay.shutdown()
        serving.join()


_PROGRAM = """
import sys
from pathlib import Path
import wandb
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from worker.artifacts.download import downloaded

settings = Settings(cache_dir=Path(sys.argv[2]))
with wandb.init(settings=wandb.Settings(console="off")) as run:
    report = lambda line: print(line, flush=True)
    with downloaded(run, ArtifactRef.parse(sys.argv[1]), settings, report):
        pass
"""


class _Download(NamedTuple):
    """A process that downloads a version through the relay."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, self.process, "The download", self.log, _TIMEOUT)

    def says(self, line: str) -> bool:
        return line in self.log.read_text()

    def ends_well(self) -> None:
        assert self.process.wait(_TIMEOUT) == 0, self.log.read_text()

    def dies(self) -> None:
        """Kill it with wandb's helper process, as in a power cut."""
        family = psutil.Process(self.process.pid)
        for process in (*family.children(recursive=True), family):
            process.kill()
        self.process.wait()


@pytest.fixture
def start(
    relay: _Relay, settings: Settings, tmp_path: Path
) -> Iterator[Callable[[ArtifactRef], _Download]]:
    environment = os.environ | {"WANDB_BASE_URL": relay.url}
    environment.pop("WANDB_SERVICE", None)  # otherwise it would share this process's helper
    with ExitStack() as stack:

        def start_process(ref: ArtifactRef) -> _Download:
            log = tmp_path / f"{uuid4().hex}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, str(ref), str(settings.cache_dir)],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            stack.enter_context(stop_on_exit(process))
            return _Download(process, log)

        yield start_process
        relay.lets_pass.set()


def _download(run: wandb.Run, ref: ArtifactRef, settings: Settings) -> dict[str, bytes]:
    with downloaded(run, ref, settings, ignore_progress) as folder:
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def _partly(settings: Settings, path: str) -> bool:
    files = list(settings.cache_dir.glob(f"versions/*.partial/{path}"))
    return bool(files) and 0 < files[0].stat().st_size < _LARGE


def test_a_connection_that_breaks_in_mid_file_is_resumed(
    run: wandb.Run,
    log_files: Log,
    settings: Settings,
    relay: _Relay,
    start: Callable[[ArtifactRef], _Download],
) -> None:
    files = {"weights.safetensors": os.urandom(_LARGE)}
    ref = log_files(files)
    relay.closes = True
    start(ref).ends_well()
    first, second = relay.offsets
    assert first == 0
    assert _CUT / 2 < second < _LARGE
    assert _download(run, ref, settings) == files


def test_a_killed_download_is_resumed_without_repeating_a_byte(
    run: wandb.Run,
    log_files: Log,
    settings: Settings,
    relay: _Relay,
    start: Callable[[ArtifactRef], _Download],
) -> None:
    files = {"config.json": b"{}", "weights.safetensors": os.urandom(_LARGE)}
    ref = log_files(files)
    relay.lets_pass.clear()
    killed = start(ref)
    killed.wait(lambda: _partly(settings, "weights.safetensors"))
    killed.wait(lambda: _partly(settings, "config.json"))
    killed.dies()
    assert relay.offsets == [0, 0]
    relay.lets_pass.set()
    start(ref).ends_well()
    assert len(relay.offsets) == 3
    assert 0 < relay.offsets[2] < _LARGE
    assert _download(run, ref, settings) == files


def test_two_processes_that_need_a_version_download_it_once(
    run: wandb.Run,
    log_files: Log,
    settings: Settings,
    relay: _Relay,
    start: Callable[[ArtifactRef], _Download],
) -> None:
    files = {"config.json": b"{}", "weights.safetensors": os.urandom(_LARGE)}
    ref = log_files(files)
    relay.lets_pass.clear()
    first = start(ref)
    first.wait(lambda: _partly(settings, "weights.safetensors"))
    second = start(ref)
    second.wait(lambda: second.says("waiting for another process that downloads this version"))
    relay.lets_pass.set()
    for process in (first, second):
        process.ends_well()
    assert relay.offsets == [0, 0]
    assert _download(run, ref, settings) == files
