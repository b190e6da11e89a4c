"""The stored webhook integrations."""

from pathlib import Path

from pydantic import HttpUrl, SecretStr

from local_wandb.config import Webhook
from local_wandb.store.automations import save_integration
from local_wandb.store.store import Store


def test_a_webhook_with_a_new_url_stays_the_same_integration(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for port in (1, 2):
        url = HttpUrl(f"http://127.0.0.1:{port}/hook")
        assert save_integration(store, Webhook(url=url, secret=SecretStr("hidden"))) == 1
    assert store.integrations.get(1).url_endpoint == "http://127.0.0.1:2/hook"
    store.database.close()
    assert b"hidden" not in (tmp_path / "wandb.sqlite").read_bytes()
