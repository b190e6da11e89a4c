"""Downloads of base models from a small server on loopback that imitates the hub."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from engine.artifact import Adapter, AdapterConfig
from engine.base_model import base_of
from schemas.errors import ArtifactError, ConfigurationError, PlatformError, WeighbridgeError
from schemas.settings import Settings

ANOTHER_PROCESS = """
import sys
from pathlib import Path
from schemas.settings import Settings
from engine.artifact import Adapter, AdapterConfig
from engine.base_model import base_of

config = AdapterConfig(peft_type="LORA", base_model_name_or_path="team/tiny")
settings = Settings(models_dir=Path(sys.argv[1]))
base = base_of(Adapter(folder=Path("adapter"), config=config), settings, on_progress=print)
print(base.folder, flush=True)
"""


class Hub(ThreadingHTTPServer):
    """Revisions of the one repository ``team/tiny``.

    Attributes:
        revisions: Contents of the files, by revision and path.
        fault: Status and X-Error-Code of every answer; None means success.
        forbidden: A gated file; the list of files is not gated.
        downloads: How often each file was downloaded.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.revisions = {"main": files}
        self.fault: tuple[int, str] | None = None
        self.forbidden: str | None = None
        self.downloads: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def files(self, revision: str) -> dict[str, bytes] | None:
        """The files of a revision or of a commit."""
        by_commit = {commit(name): files for name, files in self.revisions.items()}
        return (self.revisions | by_commit).get(revision)


def commit(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if self.server.fault:
            status, code = self.server.fault
            return self._send(status, b"", {"X-Error-Code": code})
        match parts:
            case ["api", "models", "team", "tiny", "revision", revision]:
                return self._list(revision)
            case ["team", "tiny", "resolve", revision, *path]:
                return self._file(revision, "/".join(path))
        return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def _list(self, revision: str) -> None:
        files = self.server.files(revision)
        if files is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name, "size": len(body)} for name, body in files.items()]
        body = {"id": "team/tiny", "sha": commit(revision), "siblings": siblings}
        return self._send(200, json.dumps(body).encode(), {})

    def _file(self, revision: str, path: str) -> None:
        if path == self.server.forbidden:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        body = (self.server.files(revision) or {})[path]
        if self.command == "GET":
            self.server.downloads[path] += 1
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        return self._send(200, body, {"X-Repo-Commit": revision, "ETag": etag})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items() | {("Content-Length", str(len(body)))}:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def hub(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    tiny = tiny_models / "team" / "tiny"
    with Hub({file.name: file.read_bytes() for file in tiny.iterdir()}) as server:
        # The client reads HF_ENDPOINT when it is imported, which may have happened before.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models_dir=tmp_path / "kept")


def adapter(name: str = "team/tiny", revision: str | None = None) -> Adapter:
    config = AdapterConfig(peft_type="LORA", base_model_name_or_path=name, revision=revision)
    return Adapter(folder=Path("adapter"), config=config)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_base_is_downloaded_and_kept(hub: Hub, settings: Settings) -> None:
    files = dict(hub.revisions["main"])
    hub.revisions["main"] |= {"pytorch_model.bin": b"pickle", "modeling_tiny.py": b"import os"}
    progress: list[str] = []
    base = base_of(adapter(), settings, on_progress=progress.append)
    assert base.folder == settings.models_dir / "team" / "tiny"
    assert contents(base.folder) == files
    assert progress == ["downloading team/tiny from the hub, 0 MB"]
    assert base_of(adapter(revision="main"), settings) == base
    assert set(hub.downloads.values()) == {1}


def test_model_code_is_downloaded_if_the_gate_trusts_it(hub: Hub, settings: Settings) -> None:
    hub.revisions["main"]["modeling_tiny.py"] = b"import os"
    base = base_of(adapter(), settings, trust_remote_code=True)
    assert (base.folder / "modeling_tiny.py").is_file()


def test_two_processes_download_a_base_once(hub: Hub, settings: Settings) -> None:
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(settings.models_dir)]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = {process.communicate()[0].splitlines()[-1] for process in processes}
    assert folders == {str(settings.models_dir / "team" / "tiny")}
    assert set(hub.downloads.values()) == {1}


def test_two_threads_download_a_base_once(hub: Hub, settings: Settings) -> None:
    start = Barrier(2)

    def download() -> None:
        start.wait()
        base_of(adapter(), settings)

    threads = [Thread(target=download) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(hub.downloads.values()) == {1}


@pytest.mark.parametrize("revision", ["v2", "refs/pr/1", "../../../outside"])
def test_a_revision_is_kept_apart_from_main(revision: str, hub: Hub, settings: Settings) -> None:
    main = hub.revisions["main"]
    hub.revisions[revision] = main | {"generation_config.json": b'{"eos_token_id": 7}'}
    first, second = base_of(adapter(), settings), base_of(adapter(revision=revision), settings)
    assert contents(first.folder) == main
    assert contents(second.folder) == hub.revisions[revision]
    assert second.folder.parent == first.folder.parent
    del hub.revisions[revision]
    assert base_of(adapter(revision=revision), settings) == second


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ((429, ""), PlatformError, "could not be downloaded from the hub: HfHubHTTPError: "),
        ((503, ""), PlatformError, "could not be downloaded from the hub: HfHubHTTPError: "),
        ((404, "RepoNotFound"), ArtifactError, "the hub does not have it .RepositoryNotFoundError"),
        (
            (404, "RevisionNotFound"),
            ArtifactError,
            "the hub does not have it .RevisionNotFoundError",
        ),
        ((401, "RepoNotFound"), ArtifactError, "the hub does not have it .RepositoryNotFoundError"),
        (
            (401, ""),
            ConfigurationError,
            "is not accessible to this worker: HfHubHTTPError.* HF_TOKEN",
        ),
        ((403, "GatedRepo"), ConfigurationError, "is not accessible .* GatedRepoError.* HF_TOKEN"),
        (
            (403, ""),
            ConfigurationError,
            "is not accessible to this worker: HfHubHTTPError.* HF_TOKEN",
        ),
    ],
)
def test_an_error_of_the_hub_becomes_one_for_the_one_who_must_act(
    fault: tuple[int, str],
    error: type[WeighbridgeError],
    message: str,
    hub: Hub,
    settings: Settings,
) -> None:
    hub.fault = fault
    with pytest.raises(error, match=f"base model team/tiny of adapter .*{message}"):
        base_of(adapter(), settings)


def test_a_gated_file_is_a_configuration_error(hub: Hub, settings: Settings) -> None:
    hub.forbidden = "config.json"
    with pytest.raises(
        ConfigurationError, match="is not accessible to this worker: GatedRepoError"
    ):
        base_of(adapter(), settings)
    hub.forbidden = None
    assert contents(base_of(adapter(), settings).folder) == hub.revisions["main"]
    assert set(hub.downloads.values()) == {1}


def test_an_offline_worker_does_not_contact_the_hub(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like HF_HUB_OFFLINE=1, which the client reads when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=r"the hub does not have it \(OfflineModeIsEnabled"):
        base_of(adapter(), settings)


def test_an_unreachable_hub_is_a_platform_error(hub: Hub, settings: Settings) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(PlatformError, match="could not be downloaded from the hub: ConnectError"):
        base_of(adapter(), settings)


def test_a_full_disk_is_a_platform_error(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("no folder can be made here, as on a full disk")
    with pytest.raises(PlatformError, match=r"from the hub: (NotADirectory|FileExists)Error"):
        base_of(adapter(), settings)
    assert not hub.downloads


def test_a_base_that_is_too_large_is_refused_before_the_download(
    hub: Hub, settings: Settings
) -> None:
    small = settings.model_copy(update={"max_version_gib": 1e-6})
    with pytest.raises(ArtifactError, match=r"files of team/tiny have .* more than the"):
        base_of(adapter(), small)
    assert not hub.downloads


def test_a_refused_base_is_not_kept(hub: Hub, settings: Settings) -> None:
    config = json.loads(hub.revisions["main"]["config.json"]) | {"auto_map": {"AutoModel": "m.M"}}
    hub.revisions["main"]["config.json"] = json.dumps(config).encode()
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"^team/tiny/config.json has auto_map"):
            base_of(adapter(), settings)
    assert set(hub.downloads.values()) == {1}
