"""Types that several requests share."""

import uuid
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from local_wandb.store.traces.queries import Query, SortKey

#: The user id of every record, because a local W&B has one user.
USER = "local"

#: A project, as ``entity/project``.
ProjectId = Annotated[str, StringConstraints(pattern=r"^[^/]+/[^/]+$")]

#: The number of items to return or to skip.
Count = Annotated[int, Field(ge=0, lt=2**31)]


def new_id() -> str:
    """Return a new id for a record that arrived without one."""
    return str(uuid.uuid4())


class InProject(BaseModel):
    """A request about one project."""

    project_id: ProjectId


class Listing(InProject):
    """A request for a part of a list; None is no condition."""

    query: Query | None = None
    sort_by: list[SortKey] | None = None
    limit: Count | None = None
    offset: Count | None = None

    @property
    def page(self) -> tuple[int, int]:
        """The values of SQL's LIMIT and OFFSET."""
        return (-1 if self.limit is None else self.limit), self.offset or 0
