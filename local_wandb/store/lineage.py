"""Lineage: the runs that created and used an artifact, and the ids that clients gave it."""

from local_wandb.store.rows import Artifact, Run
from local_wandb.store.store import Store


def record_use(store: Store, run: Run, artifact: Artifact) -> None:
    """Record that a run used an artifact; repeating it changes nothing."""
    with store.database.write() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO used (run_id, artifact_id) VALUES (?, ?)", (run.id, artifact.id)
        )


def runs_that_used(store: Store, artifact: Artifact) -> list[Run]:
    """Return the runs that used an artifact, oldest first."""
    return store.runs.joined(
        "JOIN used u ON u.run_id = t.id WHERE u.artifact_id = ? ORDER BY t.id", artifact.id
    )


def inputs_of(store: Store, run: Run) -> list[Artifact]:
    """Return the artifacts that a run used, oldest first."""
    return store.artifacts.joined(
        "JOIN used u ON u.artifact_id = t.id WHERE u.run_id = ? AND t.state = 'COMMITTED'"
        " ORDER BY t.id",
        run.id,
    )


def outputs_of(store: Store, run: Run) -> list[Artifact]:
    """Return the artifacts that a run logged, oldest first."""
    return store.artifacts.where(run_id=run.id, state="COMMITTED")


def artifact_by_client_id(store: Store, client_id: str) -> Artifact | None:
    """Return the artifact that a client created under a client-side id, or None."""
    found = store.artifacts.joined(
        "JOIN client c ON c.artifact_id = t.id WHERE c.client_id = ?", client_id
    )
    return found[0] if found else None


def save_client_id(store: Store, client_id: str, artifact: Artifact) -> None:
    """Store the client-side id of an artifact."""
    with store.database.write() as connection:
        connection.execute(
            "INSERT INTO client (client_id, artifact_id) VALUES (?, ?)", (client_id, artifact.id)
        )
