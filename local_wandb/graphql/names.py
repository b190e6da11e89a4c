"""Names of the schema (camelCase) as Python and the tables write them (snake_case)."""

import re


def snake_case(name: str) -> str:
    """Convert a name of the schema to snake_case.

    Args:
        name: For example ``artifactID`` or ``createdAt``.

    Returns:
        For example ``artifact_id`` or ``created_at``.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
