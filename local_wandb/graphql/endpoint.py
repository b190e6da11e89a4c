"""Executes ``POST /graphql`` requests."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationType,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)
from pydantic import BaseModel

from local_wandb.errors import RequestError
from local_wandb.graphql.context import Context

#: Parsed documents in the cache; the SDKs send fewer than 100 different ones.
CACHED_DOCUMENTS = 512

logger = logging.getLogger(__name__)


class GraphqlRequest(BaseModel):
    """The body of a request."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the protocol's name


class GraphqlAnswer(BaseModel):
    """The body of a response, and the status from which a client decides whether to retry."""

    status: HTTPStatus
    body: dict[str, Any]


class GraphqlEndpoint:
    """Executes requests against a schema.

    Args:
        schema: The schema with its resolvers.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._checked = lru_cache(CACHED_DOCUMENTS)(self._check)

    def answer(self, request: GraphqlRequest, context: Context) -> GraphqlAnswer:
        """Execute a request; a mutation is one transaction, rolled back when any part fails."""
        document, errors = self._checked(request.query)
        if document is None:
            return _answer(ExecutionResult(None, list(errors)))
        # The SDK sends an empty name instead of none (docs/upstream/wandb-protocol.md,
        # "GraphQL requests and errors").
        name = request.operationName or None
        operation = get_operation_ast(document, name)
        writes = operation is not None and operation.operation is OperationType.MUTATION
        execute = self._execute_in_transaction if writes else self._execute
        return _answer(execute(document, request.variables, name, context))

    def _check(self, text: str) -> tuple[DocumentNode | None, Sequence[GraphQLError]]:
        try:
            document = parse(text)
        except GraphQLError as error:
            return None, [error]
        errors = validate(self._schema, document)
        return (None, errors) if errors else (document, [])

    def _execute(
        self,
        document: DocumentNode,
        variables: dict[str, Any] | None,
        name: str | None,
        context: Context,
    ) -> ExecutionResult:
        return execute_sync(
            self._schema,
            document,
            context_value=context,
            variable_values=variables,
            operation_name=name,
        )

    def _execute_in_transaction(
        self,
        document: DocumentNode,
        variables: dict[str, Any] | None,
        name: str | None,
        context: Context,
    ) -> ExecutionResult:
        try:
            with context.store.database.write():
                result = self._execute(document, variables, name, context)
                if result.errors:
                    raise _RollBackError(result)
        except _RollBackError as failed:
            context.events.clear()
            return failed.result
        return result


class _RollBackError(Exception):
    def __init__(self, result: ExecutionResult) -> None:
        self.result = result


def _answer(result: ExecutionResult) -> GraphqlAnswer:
    if not result.errors:
        return GraphqlAnswer(status=HTTPStatus.OK, body={"data": result.data})
    errors = [{"message": error.message} for error in result.errors]
    status = max(_status(error) for error in result.errors)
    return GraphqlAnswer(status=status, body={"errors": errors, "data": None})


def _status(error: GraphQLError) -> HTTPStatus:
    """Return the status of an error.

    The SDK retries a 5xx for minutes, so only a bug of this server gets one.
    """
    cause = error.original_error
    if isinstance(cause, RequestError):
        return cause.status
    if cause is None or isinstance(cause, GraphQLError):
        return HTTPStatus.BAD_REQUEST
    logger.error("%s", error, exc_info=cause)
    return HTTPStatus.INTERNAL_SERVER_ERROR
