"""What every resolver may use."""

from dataclasses import dataclass, field

from local_wandb.automations import VersionEvent
from local_wandb.config import LocalWandbConfig
from local_wandb.http.signing import SignedUrls
from local_wandb.store.store import Store


@dataclass
class Context:
    """One GraphQL request.

    Attributes:
        store: everything that is kept.
        config: the names of the team and the organisation.
        urls: makes the addresses of files, as this client reaches the server.
        linked: what this request linked or gave an alias to; announced after the commit.
    """

    store: Store
    config: LocalWandbConfig
    urls: SignedUrls
    linked: list[VersionEvent] = field(default_factory=list)
