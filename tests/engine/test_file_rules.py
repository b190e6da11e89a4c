"""Rules for the paths, formats and sizes of a version's files, and the message for each."""

import pytest

from engine.file_rules import ListedFile, refuse_unsafe
from schemas.errors import ArtifactError

_NAME = "team/project/model:v3"


def _files(*paths: str) -> list[ListedFile]:
    return [ListedFile(path=path, size=10) for path in paths]


def test_what_save_pretrained_writes_is_accepted() -> None:
    refuse_unsafe(
        _files(
            "config.json",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.model",
            "chat_template.jinja",
            "onnx/readme.md",
            "onnx/nested/notes.txt",
            "ein größeres Modell.txt",
            "..hidden",
        ),
        _NAME,
    )


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../outside.txt",
        "a/../../outside.txt",
        "..",
        "",
        ".",
        "a//b.txt",
        "a/./b.txt",
        "folder/",
        "a\\b.txt",
        "..\\outside.txt",
        "C:/x.txt",
        "c:x.txt",
        "nul\0.txt",
        "new\nline.txt",
        "half\ud800.txt",
    ],
)
def test_a_path_that_could_leave_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ArtifactError, match="is not a plain path below its folder") as refusal:
        refuse_unsafe(_files("config.json", path), _NAME)
    assert repr(path) in str(refusal.value)
    assert _NAME in str(refusal.value)


@pytest.mark.parametrize("path", ["a.bin", "b/a.PT", "training_args.bin", "x.tar.pkl", "x.npy"])
def test_a_pickled_format_is_refused(path: str) -> None:
    with pytest.raises(ArtifactError, match=f"{path} in {_NAME} is in a format that can run code"):
        refuse_unsafe(_files("config.json", path), _NAME, trust_remote_code=True)


@pytest.mark.parametrize("path", ["modeling.py", "a/b/SETUP.PY", "run.sh", "kernel.so", "x.pyc"])
def test_code_is_refused(path: str) -> None:
    with pytest.raises(ArtifactError, match=f"{path} in {_NAME} is code"):
        refuse_unsafe(_files("config.json", path), _NAME)


def test_model_code_is_accepted_if_the_gate_trusts_it() -> None:
    refuse_unsafe(_files("config.json", "modeling_new.py"), _NAME, trust_remote_code=True)


@pytest.mark.parametrize("path", ["run.sh", "kernel.so", "modeling.pyc"])
def test_code_other_than_python_is_always_refused(path: str) -> None:
    with pytest.raises(ArtifactError, match=f"{path} in {_NAME} is code"):
        refuse_unsafe(_files(path), _NAME, trust_remote_code=True)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "s3://bucket/x",
        "https://host/x",
        "wandb-artifact://417274/x.safetensors",
    ],
)
def test_a_reference_is_refused(url: str) -> None:
    file = ListedFile(path="x.safetensors", size=0, reference=url)
    with pytest.raises(ArtifactError, match="Log the files themselves") as refusal:
        refuse_unsafe([file], _NAME)
    assert f"x.safetensors in {_NAME} is a reference to {url}" in str(refusal.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Model.safetensors", "model.safetensors"),
        ("A/x.txt", "a/X.txt"),
        ("caf\u00e9.txt", "cafe\u0301.txt"),
    ],
)
def test_paths_that_are_equal_on_some_file_systems_are_refused(one: str, other: str) -> None:
    with pytest.raises(ArtifactError, match="differ only in case") as refusal:
        refuse_unsafe(_files(one, other), _NAME)
    assert one in str(refusal.value)
    assert other in str(refusal.value)


@pytest.mark.parametrize("file", ["a", "A", "a/b"])
def test_a_file_with_the_path_of_a_folder_is_refused(file: str) -> None:
    with pytest.raises(ArtifactError, match=f"{file} in {_NAME} is a file and the folder of a/b/c"):
        refuse_unsafe(_files("a/b/c", file), _NAME)


def test_a_version_that_is_too_large_is_refused() -> None:
    files = [ListedFile(path=f"{part}.safetensors", size=2**30) for part in range(3)]
    refuse_unsafe(files, _NAME, max_bytes=3 * 2**30)
    with pytest.raises(ArtifactError, match=r"3\.0 GiB together, more than the 2\.5 GiB"):
        refuse_unsafe(files, _NAME, max_bytes=5 * 2**29)
