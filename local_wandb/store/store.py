"""The data of a local W&B: rows in SQLite, contents in blobs."""

from pathlib import Path

from local_wandb.store.blobs import Blobs
from local_wandb.store.database import Database
from local_wandb.store.rows import (
    Alias,
    Artifact,
    ArtifactFile,
    ArtifactType,
    Automation,
    Collection,
    GenericWebhookIntegration,
    Manifest,
    Membership,
    Project,
    Run,
    RunFile,
)
from local_wandb.store.tables import SCHEMA, Table


class Store:
    """The tables by name, and the blobs.

    Args:
        folder: The folder of ``wandb.sqlite`` and ``blobs/``; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "wandb.sqlite")
        self.database.create(SCHEMA)
        self.blobs = Blobs(folder / "blobs")
        self.projects = Table(self.database, "project", Project, "project")
        self.types = Table(self.database, "artifact_type", ArtifactType, "artifact type")
        self.runs = Table(self.database, "run", Run, "run")
        self.run_files = Table(self.database, "run_file", RunFile, "run file")
        self.collections = Table(self.database, "collection", Collection, "artifact collection")
        self.artifacts = Table(self.database, "artifact", Artifact, "artifact")
        self.manifests = Table(self.database, "manifest", Manifest, "artifact manifest")
        self.artifact_files = Table(self.database, "artifact_file", ArtifactFile, "artifact file")
        self.memberships = Table(self.database, "membership", Membership, "artifact membership")
        self.aliases = Table(self.database, "alias", Alias, "alias")
        self.integrations = Table(
            self.database, "webhook_integration", GenericWebhookIntegration, "webhook integration"
        )
        self.automations = Table(self.database, "automation", Automation, "automation")
