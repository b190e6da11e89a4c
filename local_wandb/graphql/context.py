"""The context of every resolver."""

from dataclasses import dataclass, field

from local_wandb.automations import VersionEvent
from local_wandb.config import LocalWandbConfig
from local_wandb.http.signing import SignedUrls
from local_wandb.store.store import Store


@dataclass
class Context:
    """The context of one GraphQL request.

    Attributes:
        store: Rows and blobs.
        config: The server's configuration, with the names of team and organisation.
        urls: Creates the addresses of files as this client reaches the server.
        events: The links and aliases of this request; automations fire after the commit.
    """

    store: Store
    config: LocalWandbConfig
    urls: SignedUrls
    events: list[VersionEvent] = field(default_factory=list)
