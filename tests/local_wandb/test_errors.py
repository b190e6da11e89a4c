"""An error of the caller is reported at once, in W&B's words.

Source: docs/upstream/wandb-protocol.md, "Error messages".
"""

from collections.abc import Callable

import httpx
import pytest
import wandb
from wandb.apis.public import Api
from wandb.errors import CommError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from local_wandb import LocalWandb

Log = Callable[..., wandb.Artifact]


def test_a_missing_project_is_named(project: str, api: Api) -> None:
    with pytest.raises(CommError, match="project 'nowhere' not found under entity 'wandb-smle'"):
        api.artifact("wandb-smle/nowhere/adapter:v0")


def test_a_missing_version_is_named(project: str, api: Api, log: Log) -> None:
    log("one")
    with pytest.raises(
        CommError, match=f"artifact membership 'adapter:v9' not found in '{project}'"
    ):
        api.artifact(f"{project}/adapter:v9")
    assert not api.artifact_exists(f"{project}/adapter:v9")
    assert not api.artifact_exists(f"{project}/unknown:v0")


def test_a_missing_run_is_named(project: str, api: Api, log: Log) -> None:
    log("one")
    with pytest.raises(CommError, match="Could not find run"):
        api.run(f"{project}/nowhere")


def test_another_organisation_is_not_found(project: str, log: Log) -> None:
    with pytest.raises(CommError, match="Unable to find organization"):
        log("one", link="elsewhere/wandb-registry-Models/X")


def test_a_missing_registry_is_named(project: str, log: Log) -> None:
    with pytest.raises(CommError, match="project 'wandb-registry-Nowhere' not found"):
        log("one", link="wandb32/wandb-registry-Nowhere/X")


def test_another_entity_is_refused(project: str) -> None:
    with pytest.raises(CommError, match="entity 'somebody' not found"):
        wandb.init(entity="somebody", settings=wandb.Settings(init_timeout=30))


def test_a_sequence_keeps_its_type(project: str, log: Log) -> None:
    log("one")
    with pytest.raises(ValueError, match="already exists with type 'model'"):
        log("two", type="dataset")


def test_a_collection_keeps_its_type(registry: str, log: Log) -> None:
    log("one", link=f"{registry}/Mixed")
    with pytest.raises(CommError, match="holds artifacts of type 'model', not 'dataset'"):
        log("two", "texts", type="dataset", link=f"{registry}/Mixed")


def test_an_unknown_operator_is_named(registry: str, api: Api, log: Log) -> None:
    log("one", link=f"{registry}/X")
    found = api.registry(registry.partition("/wandb-registry-")[2], organization="wandb32")
    with pytest.raises(WandbApiFailedError, match=r"filter operator '\$near' is unknown"):
        list(found.collections({"name": {"$near": 1}}))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"query": "{ nonsense }"}, 400, "Cannot query field 'nonsense'"),
        ({"query": "{"}, 400, "Syntax Error"),
        ({"query": '{ artifact(id: "x") { id } }'}, 404, "'x' is not the id of Artifact"),
        (
            {"query": '{ artifact(id: "QXJ0aWZhY3Q6OTk5OQ==") { id } }'},
            404,
            "artifact 9999 not found",
        ),
        ({"query": "{ viewer { id } }", "operationName": "Other"}, 400, "Unknown operation"),
        (
            {
                "query": "query ($f: JSONString) { viewer { id } entity { projects(filters: $f) "
                "{ __typename } } }",
                "variables": {"f": "{no json"},
            },
            400,
            "JSONString needs a string that holds a JSON document",
        ),
        (
            {"query": '{ entity { projects(filters: "{no json") { totalCount } } }'},
            400,
            "JSONString needs a string that holds a JSON document",
        ),
        (
            {
                "query": 'mutation { createRunFiles(input: {entityName: "a", projectName: "b", '
                'runName: "c", files: []}) { runID } }'
            },
            404,
            "project 'b' not found under entity 'a'",
        ),
    ],
)
def test_a_wrong_request_is_never_a_5xx(
    server: LocalWandb, body: dict[str, object], status: int, message: str
) -> None:
    answer = httpx.post(f"{server.url}/graphql", json=body, auth=("api", server.api_key))
    assert answer.status_code == status
    assert message in answer.json()["errors"][0]["message"]
    assert answer.json()["data"] is None


def test_malformed_json_is_never_a_5xx(server: LocalWandb) -> None:
    answer = httpx.post(f"{server.url}/graphql", content=b"{", auth=("api", server.api_key))
    assert answer.status_code == 422


def test_the_stream_of_an_unknown_run_is_refused(server: LocalWandb) -> None:
    url = f"{server.url}/files/wandb-smle/nowhere/none/file_stream"
    assert httpx.post(url, json={}, auth=("api", server.api_key)).status_code == 404
