"""Versions downloaded from a real local W&B: what arrives, what is refused, what is kept."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
import wandb

from engine.options import ignore_progress
from local_wandb import LocalWandb
from schemas.errors import ArtifactError, ConfigurationError, PlatformError
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from worker.artifacts import transfer
from worker.artifacts.download import downloaded

_GIB = 2**30

Log = Callable[..., ArtifactRef]
"""Logs files, given as path and contents, and returns the version."""


@pytest.fixture
def stored(local_wandb: LocalWandb) -> Callable[[bytes], Path]:
    """Finds the one file of the local W&B that holds some bytes."""

    def find(contents: bytes) -> Path:
        blobs = [path for path in local_wandb.config.data_dir.glob("blobs/*/*") if path.is_file()]
        (found,) = [path for path in blobs if contents in path.read_bytes()]
        return found

    return find


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache")


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def _download(run: wandb.Run, ref: ArtifactRef, settings: Settings) -> dict[str, bytes]:
    with downloaded(run, ref, settings, ignore_progress) as folder:
        return _contents(folder)


def test_the_files_arrive_and_the_run_is_recorded_as_a_consumer(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    files = {"weights.txt": b"one", "tokenizer/vocab.json": b"{}", "empty.txt": b""}
    ref = log_files(files)
    with downloaded(run, ref, settings, ignore_progress) as folder:
        assert _contents(folder) == files
    used_by = wandb.Api().artifact(str(ref)).used_by()
    assert [user.id for user in used_by] == [run.id]


def test_versions_with_different_contents_do_not_share_a_folder(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    with ExitStack() as stack:
        refs = [log_files({"weights.txt": text}) for text in (b"one", b"two")]
        folders = [
            stack.enter_context(downloaded(run, ref, settings, ignore_progress)) for ref in refs
        ]
        assert [(folder / "weights.txt").read_bytes() for folder in folders] == [b"one", b"two"]


def test_an_unknown_version_is_named(run: wandb.Run, project: str, settings: Settings) -> None:
    ref = ArtifactRef.parse(f"{project}/nothing:v7")
    with pytest.raises(ConfigurationError, match=r"could not use version .*/nothing:v7"):
        _download(run, ref, settings)


def test_the_same_contents_under_another_name_are_not_downloaded_again(
    run: wandb.Run, log_files: Log, settings: Settings, stored: Callable[[bytes], Path]
) -> None:
    contents = uuid4().bytes
    _download(run, log_files({"weights.txt": contents}), settings)
    other = log_files({"weights.txt": contents}, name="other")
    stored(contents).unlink()
    assert _download(run, other, settings) == {"weights.txt": contents}


def test_the_sdk_keeps_no_second_copy(run: wandb.Run, log_files: Log, settings: Settings) -> None:
    ref = log_files({"weights.txt": b"one"})
    objects = Path(os.environ["WANDB_CACHE_DIR"]) / "artifacts" / "obj"
    shutil.rmtree(objects, ignore_errors=True)  # of the upload
    with downloaded(run, ref, settings, ignore_progress):
        assert not [path for path in objects.rglob("*") if path.is_file()]


def test_progress_is_reported(run: wandb.Run, log_files: Log, settings: Settings) -> None:
    reported: list[str] = []
    with downloaded(run, log_files({"weights.txt": bytes(3_000_000)}), settings, reported.append):
        assert reported[0] == "0 of 3 MB"
        assert reported[-1] == "verifying the files"


def _refused(run: wandb.Run, ref: ArtifactRef, settings: Settings) -> str:
    with pytest.raises(ArtifactError) as refusal:
        _download(run, ref, settings)
    assert not settings.cache_dir.exists()
    assert str(ref) in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("path", ["adapter_model.bin", "checkpoint-8/optimizer.pt", "modeling.py"])
def test_an_unsafe_file_is_refused_by_its_name_before_any_download(
    path: str, run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    assert path in _refused(run, log_files({"config.json": b"{}", path: b"x"}), settings)


def test_file_names_that_differ_only_in_case_are_refused_before_any_download(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    ref = log_files({"model.safetensors": b"1", "Model.safetensors": b"2"})
    assert "Model.safetensors and model.safetensors" in _refused(run, ref, settings)


@pytest.mark.parametrize("kind", ["file", "weave", "another version"])
def test_a_reference_is_refused_before_any_download(
    kind: str, run: wandb.Run, log_files: Log, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("of the worker's machine")
    urls = {
        "file": f"file://{tmp_path}/secret.txt",
        "weave": "weave:///team/project/object/Model:v0",
    }
    if kind == "another version":
        other = wandb.Api().artifact(str(log_files({"model.safetensors": b"1"})))
        urls[kind] = other.get_entry("model.safetensors").ref_url()
    refusal = _refused(run, log_files({"config.json": b"{}"}, urls[kind]), settings)
    assert "referred.safetensors" in refusal
    assert "is a reference to" in refusal


def test_a_path_that_leaves_the_folder_is_refused_before_any_download(
    run: wandb.Run, log_files: Log, settings: Settings, stored: Callable[[bytes], Path]
) -> None:
    # The SDK does not log such a path, but another client of the protocol can.
    harmless = f"{uuid4().hex}.txt".encode()
    ref = log_files({harmless.decode(): b"x"})
    manifest = stored(harmless)
    manifest.write_bytes(manifest.read_bytes().replace(harmless, b"../../harmful.txt"))
    assert "'../../harmful.txt'" in _refused(run, ref, settings)


def test_a_forged_digest_is_never_used_as_a_path(
    run: wandb.Run, log_files: Log, settings: Settings, local_wandb: LocalWandb
) -> None:
    contents = uuid4().bytes
    ref = log_files({"weights.txt": contents})
    digest = wandb.Api().artifact(str(ref)).digest
    with closing(sqlite3.connect(local_wandb.config.data_dir / "wandb.sqlite")) as database:
        database.execute("UPDATE artifact SET digest = '../../x' WHERE digest = ?", (digest,))
        database.commit()
    assert wandb.Api().artifact(str(ref)).digest == "../../x"
    assert _download(run, ref, settings) == {"weights.txt": contents}
    assert [path.parent.name for path in settings.cache_dir.rglob("weights.txt")] == [digest]


def test_a_version_over_the_size_limit_is_refused_before_any_download(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    ref = log_files({"weights.txt": bytes(1001)})
    small = settings.model_copy(update={"max_version_gib": 1000 / _GIB})
    assert "GiB together" in _refused(run, ref, small)


def test_model_code_is_downloaded_if_the_gate_trusts_it(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    ref = log_files({"modeling.py": b"", "config.json": b"{}"})
    with downloaded(run, ref, settings, ignore_progress, trust_remote_code=True) as folder:
        assert (folder / "modeling.py").exists()


def test_contents_that_differ_from_the_logged_ones_are_never_used(
    run: wandb.Run, log_files: Log, settings: Settings, stored: Callable[[bytes], Path]
) -> None:
    right = uuid4().bytes
    ref, blob = log_files({"weights.txt": right}), stored(right)
    blob.write_bytes(bytes(len(right)))
    with pytest.raises(PlatformError, match=r"differs from what was logged: .*weights\.txt"):
        _download(run, ref, settings)
    blob.write_bytes(right)
    assert _download(run, ref, settings) == {"weights.txt": right}


def test_a_file_that_is_incomplete_on_the_server_is_never_used(
    run: wandb.Run,
    log_files: Log,
    settings: Settings,
    stored: Callable[[bytes], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_DELAYS", (0.0, 0.0))
    right = uuid4().bytes
    ref, blob = log_files({"weights.txt": right}), stored(right)
    blob.write_bytes(right[:7])
    with pytest.raises(
        PlatformError, match=r"Only 7 of 16 bytes of weights\.txt arrived: HTTP 416"
    ):
        _download(run, ref, settings)
    blob.write_bytes(right)
    assert _download(run, ref, settings) == {"weights.txt": right}


def test_a_version_in_use_is_kept_while_others_fill_the_cache(
    run: wandb.Run, log_files: Log, settings: Settings
) -> None:
    small = settings.model_copy(update={"cache_gib": 1500 / _GIB})
    refs = [log_files({"weights.txt": os.urandom(1000)}) for _ in range(3)]
    with downloaded(run, refs[0], small, ignore_progress) as held:
        for ref in refs[1:]:
            _download(run, ref, small)
        assert len(_contents(held)) == 1
    assert len(list(small.cache_dir.glob("versions/*/weights.txt"))) == 2
