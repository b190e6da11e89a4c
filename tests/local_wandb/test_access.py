"""Access: the API key, and the signed addresses of files."""

import base64
import hashlib
import time
from collections.abc import Callable
from urllib.parse import urlencode

import httpx
import pytest
import wandb
from wandb.errors import AuthenticationError

from local_wandb import LocalWandb
from local_wandb.http.signing import Signer

VIEWER = {"query": "{ viewer { username entity teams { edges { node { name } } } } }"}
BYTES = b"some bytes"
KEY = hashlib.md5(BYTES).hexdigest()
PATH = f"/storage/blobs/{KEY}"

Address = Callable[..., str]


@pytest.fixture
def address(server: LocalWandb) -> Address:
    """Creates addresses as the server does, for any method, path and expiry."""
    signer = Signer((server.config.data_dir / "signing-secret").read_text())

    def sign(method: str, path: str = PATH, *, seconds: int = 60) -> str:
        expires = int(time.time()) + seconds
        query = {"expires": expires, "signature": signer.sign(method, path, expires)}
        return f"{server.url}{path}?{urlencode(query)}"

    return sign


@pytest.mark.parametrize("auth", [None, ("api", "wrong"), ("api", "")])
@pytest.mark.parametrize("path", ["/graphql", "/traces/server_info", "/artifactsV2/a/b/c/d/e/f/g"])
def test_a_request_without_the_key_is_refused(
    server: LocalWandb, path: str, auth: tuple[str, str] | None
) -> None:
    answer = httpx.post(f"{server.url}{path}", json=VIEWER, auth=auth)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["message"] == "the API key is not valid for this server"


def test_the_key_grants_access(server: LocalWandb) -> None:
    answer = httpx.post(f"{server.url}/graphql", json=VIEWER, auth=("api", server.api_key))
    assert answer.json()["data"]["viewer"] == {
        "username": "local",
        "entity": "wandb-smle",
        "teams": {"edges": [{"node": {"name": "wandb-smle"}}]},
    }


def test_health_needs_no_key(server: LocalWandb) -> None:
    assert httpx.get(f"{server.url}/healthz").json() == {"status": "ok"}


def test_the_sdk_logs_in(project: str) -> None:
    assert wandb.login(verify=True)
    assert wandb.Api().default_entity == "wandb-smle"


def test_the_sdk_reports_a_wrong_key(server: LocalWandb, sdk: Callable[..., None]) -> None:
    sdk(server, WANDB_API_KEY="0" * 40)
    with pytest.raises(AuthenticationError, match="the API key is not valid for this server"):
        wandb.login(verify=True)


def test_uploaded_bytes_can_be_downloaded(address: Address) -> None:
    digest = base64.b64encode(hashlib.md5(BYTES).digest()).decode()
    answer = httpx.put(address("PUT"), content=BYTES, headers={"Content-MD5": digest})
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{KEY}"'
    assert httpx.get(address("GET")).content == BYTES
    assert httpx.get(address("GET"), headers={"Range": "bytes=5-9"}).content == b"bytes"


def test_bytes_with_another_md5_are_refused(address: Address) -> None:
    assert httpx.put(address("PUT"), content=b"others").status_code == 400
    answer = httpx.put(address("PUT"), content=BYTES, headers={"Content-MD5": "AAAA"})
    assert answer.status_code == 400
    assert "not AAAA" in answer.json()["errors"][0]["message"]


def test_an_expired_address_is_refused(address: Address) -> None:
    assert httpx.put(address("PUT", seconds=-1), content=BYTES).status_code == 403
    assert httpx.get(address("GET", seconds=-1)).status_code == 403


def test_an_address_permits_one_method_on_one_path(address: Address) -> None:
    assert httpx.put(address("GET"), content=BYTES).status_code == 403
    assert httpx.get(address("GET").replace(KEY, "0" * 32)).status_code == 403


@pytest.mark.parametrize("change", [("signature=", "signature=0"), ("expires=", "expires=9")])
def test_a_tampered_address_is_refused(address: Address, change: tuple[str, str]) -> None:
    assert httpx.get(address("GET").replace(*change)).status_code == 403


def test_an_unsigned_address_is_refused(server: LocalWandb) -> None:
    assert httpx.get(f"{server.url}{PATH}").status_code == 403
    assert httpx.get(f"{server.url}{PATH}?expires=x&signature=y").status_code == 403


def test_a_missing_upload_is_not_found(address: Address) -> None:
    assert httpx.get(address("GET", f"/storage/blobs/{'0' * 32}")).status_code == 404
    assert httpx.get(address("GET", "/storage/blobs/wandb.sqlite")).status_code == 404
