"""One frozen dataclass per table of runs, artifacts, registries and automations.

The fields have the names and the order of the columns in ``tables.SCHEMA``.
"""

from dataclasses import dataclass

from local_wandb.store.clock import seconds_ago

#: Seconds without a heartbeat after which a running run counts as crashed. wandb-core sends one
#: every 30 s (docs/upstream/wandb-protocol.md, "Runs and the file stream").
HEARTBEAT_TIMEOUT_S = 300

#: A registry is a project of the organisation's entity with this prefix.
REGISTRY_PREFIX = "wandb-registry-"


@dataclass(frozen=True)
class Project:
    """A project, which may be a registry."""

    id: int
    entity: str
    name: str
    description: str | None
    access: str | None
    all_types: bool
    created_at: str
    updated_at: str

    @property
    def is_registry(self) -> bool:
        """Whether the project is a registry of the organisation."""
        return self.name.startswith(REGISTRY_PREFIX)

    @property
    def path(self) -> str:
        """``entity/project``."""
        return f"{self.entity}/{self.name}"


@dataclass(frozen=True)
class ArtifactType:
    """A type of artifacts in one project."""

    id: int
    project_id: int
    name: str
    description: str | None
    created_at: str


@dataclass(frozen=True)
class Run:
    """A run; ``config``, ``summary`` and ``tags`` are JSON texts."""

    id: int
    project_id: int
    name: str
    display_name: str | None
    description: str | None
    notes: str | None
    last_state: str
    config: str
    summary: str
    tags: str
    group_name: str | None
    job_type: str | None
    commit_hash: str | None
    host: str | None
    created_at: str
    heartbeat_at: str

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``failed``, or ``crashed`` if the heartbeat has stopped."""
        silent = self.last_state == "running" and self.heartbeat_at < seconds_ago(
            HEARTBEAT_TIMEOUT_S
        )
        return "crashed" if silent else self.last_state


@dataclass(frozen=True)
class RunFile:
    """A file of a run; ``md5`` (hex) is None until it is uploaded."""

    id: int
    run_id: int
    name: str
    md5: str | None
    size: int
    updated_at: str


@dataclass(frozen=True)
class Collection:
    """Versions under one name: runs log into a SEQUENCE, versions are linked into a PORTFOLIO."""

    id: int
    project_id: int
    type_id: int
    name: str
    kind: str
    state: str
    description: str | None
    next_version: int
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Artifact:
    """The contents of a version; PENDING until it is committed. ``metadata`` is a JSON text."""

    id: int
    sequence_id: int
    run_id: int | None
    digest: str
    state: str
    description: str | None
    metadata: str | None
    ttl_s: int | None
    history_step: int | None
    size: int
    file_count: int
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Manifest:
    """The list of an artifact's files; ``digest`` is the base64 MD5 of its bytes."""

    id: int
    artifact_id: int
    name: str
    digest: str


@dataclass(frozen=True)
class ArtifactFile:
    """A file or a reference (``ref``) of an artifact; ``digest`` is the one in the manifest."""

    id: int
    artifact_id: int
    path: str
    digest: str
    size: int
    ref: str | None


@dataclass(frozen=True)
class Membership:
    """An artifact as version number ``version`` of a collection."""

    id: int
    collection_id: int
    artifact_id: int
    version: int
    created_at: str


@dataclass(frozen=True)
class Alias:
    """A name that belongs to one version of a collection at a time."""

    id: int
    collection_id: int
    membership_id: int
    alias: str


@dataclass(frozen=True)
class GenericWebhookIntegration:
    """A webhook to which automations can send."""

    id: int
    name: str
    url_endpoint: str


@dataclass(frozen=True)
class Automation:
    """A rule: an event in a scope sends a payload. ``scope_type`` is the table of ``scope_id``."""

    id: int
    name: str
    description: str | None
    enabled: bool
    scope_type: str
    scope_id: int
    event_type: str
    event_filter: str
    payload: str
    integration_id: int
    created_at: str
    updated_at: str
