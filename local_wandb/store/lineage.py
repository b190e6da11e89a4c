"""Who made an artifact, who used it, and under which id a client knows it."""

from local_wandb.store.rows import Artifact, Run
from local_wandb.store.store import Store


def use(store: Store, run: Run, artifact: Artifact) -> None:
    """Remember that a run read an artifact; a second time changes nothing.

    Args:
        store: where it is kept.
        run: which read.
        artifact: which was read.
    """
    with store.database.write() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO used (run_id, artifact_id) VALUES (?, ?)", (run.id, artifact.id)
        )


def users_of(store: Store, artifact: Artifact) -> list[Run]:
    """The runs that read an artifact, oldest first.

    Args:
        store: where they lie.
        artifact: which was read.
    """
    return store.runs.joined(
        "JOIN used u ON u.run_id = t.id WHERE u.artifact_id = ? ORDER BY t.id", artifact.id
    )


def inputs_of(store: Store, run: Run) -> list[Artifact]:
    """The artifacts that a run read, oldest first.

    Args:
        store: where they lie.
        run: which read them.
    """
    return store.artifacts.joined(
        "JOIN used u ON u.artifact_id = t.id WHERE u.run_id = ? AND t.state = 'COMMITTED'"
        " ORDER BY t.id",
        run.id,
    )


def outputs_of(store: Store, run: Run) -> list[Artifact]:
    """The artifacts that a run logged, oldest first.

    Args:
        store: where they lie.
        run: which logged them.
    """
    return store.artifacts.where(run_id=run.id, state="COMMITTED")


def artifact_of_client(store: Store, client_id: str) -> Artifact | None:
    """The artifact that a client made under an id of its own.

    Args:
        store: where it lies.
        client_id: as the client made it up.
    """
    found = store.artifacts.joined(
        "JOIN client c ON c.artifact_id = t.id WHERE c.client_id = ?", client_id
    )
    return found[0] if found else None


def remember_client(store: Store, client_id: str, artifact: Artifact) -> None:
    """Keep the id that a client made up for an artifact.

    Args:
        store: where it is kept.
        client_id: as the client made it up.
        artifact: which the client means.
    """
    with store.database.write() as connection:
        connection.execute(
            "INSERT INTO client (client_id, artifact_id) VALUES (?, ?)", (client_id, artifact.id)
        )
