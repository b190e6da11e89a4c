"""The schema writes camelCase, Python and the tables write snake_case."""

import re


def snake_case(name: str) -> str:
    """A name of the schema as Python writes it.

    Args:
        name: for example `artifactID` or `createdAt`.

    Returns:
        For example `artifact_id` or `created_at`.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
