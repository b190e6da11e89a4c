"""Rows as documents with W&B's field names, for filters and orders.

Source: docs/upstream/wandb-protocol.md, "Filters and orders".
"""

import json
from typing import Any

from local_wandb.graphql.ids import global_id
from local_wandb.store.rows import Collection, Membership, Project, Run
from local_wandb.store.store import Store
from local_wandb.store.tags import tags_of

Document = dict[str, Any]


def project_document(project: Project) -> Document:
    """Return the document of a project or registry."""
    return {
        "id": [project.id, global_id(project)],
        "name": project.name,
        "description": project.description,
        "created_at": project.created_at,
        "updated_at": project.updated_at,
    }


def collection_document(store: Store, collection: Collection) -> Document:
    """Return the document of a collection, with its tags."""
    ids = [collection.id, global_id(collection)]
    return {
        "id": ids,
        "artifact_collection_id": ids,
        "name": collection.name,
        "description": collection.description,
        "tag": tags_of(store, collection),
        "created_at": collection.created_at,
        "updated_at": collection.updated_at,
    }


def version_document(store: Store, version: Membership) -> Document:
    """Return the document of a version, with its artifact, aliases and tags."""
    artifact = store.artifacts.get(version.artifact_id)
    aliases = store.aliases.where(membership_id=version.id)
    return {
        "id": [artifact.id, global_id(artifact)],
        "version": [version.version, f"v{version.version}"],
        "version_index": version.version,
        "state": artifact.state,
        "tag": tags_of(store, artifact),
        "alias": [alias.alias for alias in aliases],
        "metadata": json.loads(artifact.metadata or "{}"),
        "created_at": artifact.created_at,
        "updated_at": artifact.updated_at,
    }


def run_document(run: Run) -> Document:
    """Return the document of a run."""
    return {
        "name": run.name,
        "display_name": run.display_name,
        "state": run.state,
        "group": run.group_name,
        "job_type": run.job_type,
        "host": run.host,
        "tags": json.loads(run.tags),
        "config": plain_config(run),
        "summary_metrics": json.loads(run.summary),
        "created_at": run.created_at,
        "heartbeat_at": run.heartbeat_at,
    }


def plain_config(run: Run) -> Document:
    """Return the configuration of a run as its author wrote it.

    Args:
        run: A run whose stored configuration is ``{"lr": {"value": 0.1}}``, for example.

    Returns:
        For example ``{"lr": 0.1}``.
    """
    config = json.loads(run.config)
    return {k: v["value"] if isinstance(v, dict) and "value" in v else v for k, v in config.items()}
