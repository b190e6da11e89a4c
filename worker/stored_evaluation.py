"""A published Evaluation as data: its scorers and its dataset, without running any code."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.refs import OpRef, TableRef
from weave.trace.weave_client import sanitize_object_name

from application.exchange_path import follow, read_application
from application.stored_json import reference
from application.trace_call import trace_call
from schemas.errors import ConfigurationError

_EVALUATION = "Evaluation"
# The op of a scorer whose class does not summarize its scores itself.
_SUMMARIZED_BY_WEAVE = "Scorer.summarize"
_PAGE = 1000  # rows in one request


class StoredScorer(NamedTuple):
    """A scorer of an Evaluation.

    Attributes:
        name: Its name in the summary of an evaluation.
        has_own_summary: Whether its class summarizes the scores itself, in a way that only its
            code says.
    """

    name: str
    has_own_summary: bool


class StoredEvaluation:
    """A published Evaluation.

    Args:
        uri: ``weave:///entity/project/object/name:version``; the version is a digest or an alias.

    Attributes:
        uri: Its version, by digest.

    Raises:
        ConfigurationError: There is no such object, or it is not an Evaluation.
        PlatformError: The trace server did not answer.
    """

    def __init__(self, uri: str) -> None:
        ref, value = read_application(uri)
        self.uri: str = ref.uri
        self._project = f"{ref.entity}/{ref.project}"
        self._fields: dict[str, Any] = value if isinstance(value, dict) else {}
        if (kind := self._field("_class_name")) != _EVALUATION:
            found = f"of class {kind}" if kind else "an object without a class"
            raise ConfigurationError(
                f"{uri} is {found}, not {_EVALUATION}.",
                fix="Name a published Evaluation in the gate's evaluation.",
            )

    @property
    def preprocess_is_text(self) -> bool:
        """Whether Weave has kept only the text of its ``preprocess_model_input``."""
        value = self._field("preprocess_model_input")
        return isinstance(value, str) and reference(value) is None

    def scorers(self) -> list[StoredScorer]:
        """Read its scorers.

        Raises:
            ConfigurationError: A scorer does not exist, or this key may not read it.
            PlatformError: The trace server did not answer.
        """
        return [self._scorer(value) for value in self._field("scorers") or []]

    def rows(self) -> list[dict[str, Any]]:
        """Read its dataset's rows, as JSON.

        Raises:
            ConfigurationError: The dataset does not exist, or this key may not read it.
            PlatformError: The trace server did not answer.
        """
        dataset = follow(self._fields.get("dataset"), "dataset", self._project)
        stored = dataset.value.get("rows") if isinstance(dataset.value, dict) else None
        table = reference(follow(stored, "dataset.rows", dataset.project).value)
        if not isinstance(table, TableRef):
            raise ConfigurationError(
                f"The dataset of {self.uri} is not a table of rows.",
                fix="Publish the evaluation with a weave.Dataset.",
            )
        with trace_call(f"read the dataset of {self.uri}"):
            return list(_rows(table))

    def _field(self, name: str) -> Any:
        return follow(self._fields.get(name), name, self._project).value

    def _scorer(self, value: Any) -> StoredScorer:
        if isinstance(op := reference(value), OpRef):
            return StoredScorer(sanitize_object_name(op.name), has_own_summary=False)
        found = follow(value, "scorers", self._project)

        def field(name: str) -> Any:
            return follow(found.value.get(name), name, found.project).value

        summarize = reference(field("summarize"))
        by_weave = isinstance(summarize, OpRef) and summarize.name == _SUMMARIZED_BY_WEAVE
        name = str(field("name") or field("_class_name"))
        return StoredScorer(sanitize_object_name(name), has_own_summary=not by_weave)


def _rows(table: TableRef) -> Iterator[dict[str, Any]]:
    server, offset = require_weave_client().server, 0
    while True:
        page = server.table_query(
            {
                "project_id": f"{table.entity}/{table.project}",
                "digest": table.digest,
                "limit": _PAGE,
                "offset": offset,
            }
        ).rows
        yield from (row.val for row in page if isinstance(row.val, dict))
        if len(page) < _PAGE:
            return
        offset += _PAGE
