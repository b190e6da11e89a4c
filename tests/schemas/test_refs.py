import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.refs import ArtifactRef, WeaveRef

_NAMES = st.text(
    st.characters(exclude_characters="/:\n", exclude_categories=["C"]), min_size=1
).filter(lambda name: name == name.strip())


@given(_NAMES, _NAMES, _NAMES, _NAMES)
def test_an_artifact_reference_survives_printing_and_parsing(
    entity: str, project: str, collection: str, version: str
) -> None:
    ref = ArtifactRef(entity=entity, project=project, collection=collection, version=version)
    assert ArtifactRef.parse(str(ref)) == ref
    assert ArtifactRef.parse(ref.uri) == ref


def test_the_tutorials_registry_url_is_read() -> None:
    ref = ArtifactRef.parse(
        "wandb-artifact:///wandb32/wandb-registry-RAG Chat Models/Finetuned Llama-3.2:v3"
    )
    assert ref.collection_path == "wandb32/wandb-registry-RAG Chat Models/Finetuned Llama-3.2"
    assert ref.number == 3


def test_a_copy_with_another_version_has_its_number() -> None:
    alias = ArtifactRef.parse("e/p/c:latest")
    assert alias.number is None
    assert alias.at("v7").number == 7


def test_a_missing_version_means_latest() -> None:
    assert ArtifactRef.parse("e/p/c").version == "latest"


@pytest.mark.parametrize("alias", ["latest", "production", "v", "v3b", "3"])
def test_an_alias_has_no_number(alias: str) -> None:
    assert ArtifactRef.parse(f"e/p/c:{alias}").number is None


@pytest.mark.parametrize(
    "text",
    ["", "name:v3", "e/c:v3", "a/b/c/d:v3", "e//c:v3", "e/p/c:v3:v4", "wandb-artifact://_id/QXJ0"],
)
def test_what_is_not_an_artifact_reference_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not an artifact reference.*Write it as"):
        ArtifactRef.parse(text)


def test_a_weave_reference_survives_printing_and_parsing() -> None:
    text = "weave:///wandb-smle/weave-cookboook-demo/object/RagModel:cqRaGKcxutBWXyM0fCGTR1Yk"
    ref = WeaveRef.parse(text)
    assert ref.uri == text
    assert ref.project_path == "wandb-smle/weave-cookboook-demo"


@pytest.mark.parametrize(
    "text", ["RagModel", "weave:///e/p/op/predict:abc", "weave:///e/p/object/RagModel", "weave:///"]
)
def test_what_is_not_a_weave_object_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a reference to a Weave object"):
        WeaveRef.parse(text)
