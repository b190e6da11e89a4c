"""Starting and ending an engine. Small programs replace vLLM, so that each failure is quick."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from engine.engine_log import LogTail, last_errors
from engine.server import EngineServer
from schemas.errors import PlatformError

VLLM_LOG = """\
(APIServer pid=7) INFO 11-20 14:51:30 [api_utils.py:347]  ▄▄ ▄█ █     █  version 0.32.0
(APIServer pid=7) INFO 11-20 14:51:37 [model.py:733] Resolved architecture: LlamaForCausalLM
(APIServer pid=7) WARNING 11-20 14:51:37 [cpu.py:224] Triton is not installed.
Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00,  1.77it/s]
(Worker pid=9) ERROR 11-20 14:54:50 [executor.py:1063]     raise ValueError(
(Worker pid=9) ERROR 11-20 14:54:50 [executor.py:1063] ValueError: no memory for the KV cache.
(Worker pid=9) ERROR 11-20 14:54:50 [executor.py:1063] ValueError: no memory for the KV cache.
(APIServer pid=7) INFO 11-20 14:51:55 [launcher.py:195] Route: /health, Methods: GET
RuntimeError: Engine core initialization failed. See root cause above.
"""

# Answers /health on its socket, and opens sockets in the folders that vLLM and Python use.
HEALTHY = """
import os, socket, socketserver, sys, tempfile, uuid
from http.server import BaseHTTPRequestHandler

for folder in (os.environ["VLLM_RPC_BASE_PATH"], tempfile.gettempdir()):
    socket.socket(socket.AF_UNIX).bind(os.path.join(folder, str(uuid.uuid4())))

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

socketserver.UnixStreamServer(sys.argv[-1], Health).serve_forever()
"""


def start(run_dir: Path, program: str) -> EngineServer:
    return EngineServer.start(
        run_dir,
        command=[sys.executable, "-c", program],
        environment=dict(os.environ),
        identity="x",
        started_on=run_dir,
        loaded=None,
        owner_pid=os.getpid(),
    )


def test_a_failed_start_reports_the_engines_errors(tmp_path: Path) -> None:
    server = start(tmp_path, "raise ValueError('hidden size 512 is not a multiple of 9')")
    with pytest.raises(PlatformError, match="ended while it started: ValueError: hidden size 512"):
        server.wait_until_healthy(60, print)
    assert not server.record.socket.parent.exists()
    assert not psutil.pid_exists(server.record.guard_pid)  # not even as a zombie


def test_a_start_that_times_out_is_ended(tmp_path: Path) -> None:
    server = start(tmp_path, "print('loading', flush=True); import time; time.sleep(1000)")
    with pytest.raises(PlatformError, match="did not start within 0 s"):
        server.wait_until_healthy(0.1, print)
    assert EngineServer.find(tmp_path) is None
    assert not server.record.socket.parent.exists()


def test_another_process_finds_a_running_engine(tmp_path: Path) -> None:
    server = start(tmp_path, "import time; time.sleep(1000)")
    found = EngineServer.find(tmp_path)
    assert found is not None
    assert found.record == server.record
    server.stop()
    assert EngineServer.find(tmp_path) is None


def test_an_engine_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """A Celery child starts it for the worker's main process and is then recycled."""
    program = (
        "import os, sys; from pathlib import Path;"
        "from engine.server import EngineServer;"
        "EngineServer.start(Path(sys.argv[1]), command=[sys.executable, '-c', sys.argv[3]],"
        "environment=dict(os.environ), identity='x', started_on=Path(), loaded=None,"
        "owner_pid=int(sys.argv[2]))"
    )
    engine = "import time; time.sleep(1000)"
    arguments = [str(tmp_path), str(os.getpid()), engine]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    server = EngineServer.find(tmp_path)
    assert server is not None
    server.stop()
    assert EngineServer.find(tmp_path) is None


def test_the_folder_of_the_socket_is_private_and_its_path_short(tmp_path: Path) -> None:
    server = start(tmp_path, "import time; time.sleep(1000)")
    folder = server.record.socket.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(server.record.socket)) < 100
    server.stop()


def test_an_engine_starts_whatever_the_length_of_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setenv("VLLM_RPC_BASE_PATH", str(long))
    server = start(tmp_path, HEALTHY)
    server.wait_until_healthy(60, print)
    server.stop()
    assert not server.record.socket.parent.exists()


def test_each_error_of_the_engine_is_reported_once(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(VLLM_LOG)
    assert last_errors(log) == (
        "ValueError: no memory for the KV cache. | "
        "RuntimeError: Engine core initialization failed. See root cause above."
    )


def test_progress_omits_warnings_routes_and_the_banner(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text(VLLM_LOG)
    tail = LogTail(log)
    assert tail.progress() == [
        "Resolved architecture: LlamaForCausalLM",
        "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00,  1.77it/s]",
    ]
    assert tail.progress() == []
