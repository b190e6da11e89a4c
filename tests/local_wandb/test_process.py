"""A local W&B as a process: it starts, keeps its data, and leaves no process behind."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import wandb

from local_wandb import LocalWandb, LocalWandbConfig, LocalWandbError

WAIT_S = 60

#: A parent that starts a local W&B, prints its process id, and then waits forever.
PARENT = """
import signal, sys
from pathlib import Path
from local_wandb import LocalWandb, LocalWandbConfig
with LocalWandb(LocalWandbConfig(data_dir=Path(sys.argv[1]))) as server:
    print(server.pid, flush=True)
    signal.pause()
"""


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def printed(process: subprocess.Popen[str], prefix: str) -> str:
    """Return the first line that starts with a prefix."""
    assert process.stdout
    return next(line for line in process.stdout if line.startswith(prefix))


def test_a_restart_keeps_everything(tmp_path: Path, sdk: Callable[..., None]) -> None:
    config = LocalWandbConfig(data_dir=tmp_path / "data")
    with LocalWandb(config) as server:
        sdk(server)
        wandb.Api().create_registry("Models", visibility="organization", organization="wandb32")
        with wandb.init(config={"lr": 1}) as run:
            run.log({"loss": 2})
            artifact = wandb.Artifact("adapter", type="model", metadata={"rank": 8})
            (tmp_path / "weights.txt").write_text("one")
            artifact.add_file(str(tmp_path / "weights.txt"))
            run.log_artifact(artifact).wait()
            run.link_artifact(artifact, "wandb32/wandb-registry-Models/A", aliases=["best"])
    with LocalWandb(config) as server:
        sdk(server, WANDB_CACHE_DIR=str(tmp_path / "empty cache"))
        found = wandb.Api().artifact("wandb32/wandb-registry-Models/A:best")
        assert found.metadata == {"rank": 8}
        assert Path(found.download(), "weights.txt").read_text() == "one"
        maker = found.logged_by()
        assert maker is not None
        assert [row["loss"] for row in maker.scan_history()] == [2]


def test_the_process_ends_with_the_block(tmp_path: Path) -> None:
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path)) as server:
        pid = server.pid
        assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "server.json").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with started("-c", PARENT, str(tmp_path)) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(WAIT_S)
    assert not child.is_running()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(tmp_path: Path, ending: signal.Signals) -> None:
    with started("-m", "local_wandb", "--data-dir", str(tmp_path), "--port", "0") as it:
        printed(it, "listening")
        it.send_signal(ending)
        output, _ = it.communicate(timeout=WAIT_S)
    assert "Traceback" not in output
    assert not (tmp_path / "server.json").exists()


def test_the_server_prints_the_variables_of_a_shell(tmp_path: Path) -> None:
    with started("-m", "local_wandb", "--data-dir", str(tmp_path), "--port", "0") as it:
        url = printed(it, "export WANDB_BASE_URL=").partition("=")[2].strip()
        key = printed(it, "export WANDB_API_KEY=").partition("=")[2].strip()
        assert printed(it, "export WANDB_ENTITY=").strip() == "export WANDB_ENTITY=wandb-smle"
        assert printed(it, "export WEAVE_SERVER_CACHE_DIR=")
        answer = httpx.post(f"{url}/graphql", json={"query": "{ __typename }"}, auth=("api", key))
    assert answer.json() == {"data": {"__typename": "Query"}}


def test_a_folder_keeps_its_port(tmp_path: Path) -> None:
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path)) as server:
        before = server.url
    with started("-m", "local_wandb", "--data-dir", str(tmp_path)) as it:
        assert printed(it, "listening").startswith(f"listening on {before},")


def test_the_key_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with started("-m", "local_wandb", "--data-dir", str(tmp_path), "--port", "0") as it:
        assert printed(it, "export WANDB_API_KEY=").strip() == f"export WANDB_API_KEY={'k' * 40}"
    assert not (tmp_path / "api-key").exists()


def test_the_names_of_team_and_organisation_are_configurable(
    tmp_path: Path, sdk: Callable[..., None]
) -> None:
    config = LocalWandbConfig(data_dir=tmp_path / "data", entity="team", org="house")
    with LocalWandb(config) as server:
        sdk(server)
        api = wandb.Api()
        assert api.default_entity == "team"
        api.create_registry("R", visibility="organization", organization="house")
        with wandb.init() as run:
            assert run.entity == "team"
            artifact = run.log_artifact(wandb.Artifact("a", type="model")).wait()
            assert run.link_artifact(artifact, "house/wandb-registry-R/C").entity == "house"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "host 0.0.0.0 can be reached from other machines"),
        (["--webhook-url", "ftp://example.org"], "URL scheme should be 'http' or 'https'"),
        (["--port", "99999"], "99999 is not in the range"),
    ],
)
def test_invalid_options_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    with started("-m", "local_wandb", "--data-dir", str(tmp_path), *arguments) as it:
        output, _ = it.communicate(timeout=WAIT_S)
    assert it.returncode == 2
    assert message in output


def test_listening_beyond_this_machine_needs_an_option(tmp_path: Path) -> None:
    arguments = ["--data-dir", str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--allow-remote"]
    with started("-m", "local_wandb", *arguments) as it:
        assert "can be reached from other machines" in printed(it, "WARNING")
        assert printed(it, "listening").startswith("listening on http://127.0.0.1:")


def test_an_occupied_port_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = LocalWandbConfig(data_dir=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(LocalWandbError, match="address already in use"), LocalWandb(config):
            pass


def test_only_their_owner_can_read_secrets(tmp_path: Path) -> None:
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path)) as server:
        key = server.api_key
    assert len(key) == 40
    for name in ("api-key", "signing-secret", "wandb.sqlite"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert LocalWandbConfig(data_dir=tmp_path).key() == key
