"""The one address at which an application reaches models during its evaluation."""

import os
import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from engine.client import ServedModel
from engine.gateway_app import gateway_app
from engine.gateway_targets import Target, targets_of
from engine.loopback_server import LoopbackServer
from schemas.applications import ModelEndpoint
from schemas.errors import ConfigurationError
from schemas.usage import ModelUsage


class Gateway:
    """An OpenAI-compatible server on loopback for one weighing.

    The application's clients read its address and token from OPENAI_BASE_URL and OPENAI_API_KEY:

        with Gateway(gate.application.models) as gateway:
            environment = {"OPENAI_BASE_URL": gateway.url, "OPENAI_API_KEY": gateway.token}
            ...  # start the application
            gateway.serve(served, "wandb-artifact:///...")
            ...  # run its evaluation
            gateway.check()
            used = gateway.usage()

    | endpoint                    | what it does                                               |
    |-----------------------------|------------------------------------------------------------|
    | `GET /v1/models`            | lists the names that exist                                 |
    | `POST /v1/chat/completions` | forwards, with the version's chat template                 |
    | `POST /v1/completions`      | forwards                                                   |
    | `POST /v1/embeddings`       | forwards                                                   |
    | `POST /v1/responses`        | forwards; vLLM 0.32 then uses the engine's own template    |

    **Where a request goes.** The version's name, compared exactly, leads to the engine; a name in
    ``models`` leads to that endpoint with the operator's key. Any other name gets 404 with the
    names that exist. So a judge that shares the application's client is never the version itself.
    Fields are forwarded as they are; the answer names the model as the application did.

    **Errors.** What the application caused (400, 404 for an endpoint, 413, 422 and the like, such
    as a prompt that is too long) is passed to it and counts as a failed request. It does not make
    the attempt fail: applications try such things on purpose (a response format, a longer prompt)
    and go on. A row that got no answer by it is incomplete evidence, which never promotes;
    ``refusal`` then has the reason. That differs from ``ServedModel.fail_on_request_errors``, whose
    only client does not handle such errors. An engine or endpoint that is down, overloaded after
    all retries (429, 5xx) or refuses the worker's key or the model's name (401, 402, 403, 404)
    makes the attempt fail, whatever the application makes of it: ``check`` raises. It gets no
    further requests; they are answered with 502 and the reason.

    **Retries** are the gateway's: none for a local engine, ``retries`` for other endpoints. Its
    errors tell openai's clients not to retry. A request whose client disconnects is cancelled.

    Args:
        models: The other models, ``application.models`` of the gate.
        keys: The worker's environment, with the variables that ``models`` names as keys.

    Attributes:
        url: The address, ``http://127.0.0.1:PORT/v1``; known in the block.
        token: The API key that every request must have.

    Raises:
        ConfigurationError: A variable with a key is not set.
    """

    url: str

    def __init__(
        self,
        models: Mapping[str, ModelEndpoint],
        keys: Mapping[str, str] = os.environ,
    ) -> None:
        self.token = secrets.token_urlsafe(32)
        self._targets = targets_of(models, keys)
        self._server = LoopbackServer(gateway_app(self._targets, self.token))

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.url = f"http://127.0.0.1:{self._server.port}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)

    def serve(self, served: ServedModel, name: str) -> None:
        """Forward requests for the version from now on.

        Args:
            served: The version in the engine.
            name: The name by which the application asks for the version: the exchanged value.

        Raises:
            ConfigurationError: ``models`` has the version's name, so that the version would be its
                own judge or never be measured.
        """
        if name in self._targets:
            raise ConfigurationError(
                f"application.models has an entry '{name}', which is the name of the version"
                " itself.",
                fix="Remove it from the gate, or rename it there and in the application.",
            )
        others = dict(self._targets)
        self._targets.clear()  # the version comes first in every list
        self._targets.update({name: Target(name, served.upstream)} | others)

    def usage(self) -> dict[str, ModelUsage]:
        """What the requests used so far, by the model's name for the application."""
        return {name: target.counter.usage() for name, target in self._targets.items()}

    def check(self) -> None:
        """Raise the failure that makes the measurements incomplete, if there is one.

        Raises:
            PlatformError: The version's engine or another endpoint is down, timed out, is
                overloaded or failed; of a local engine, with the last errors in its log.
            ConfigurationError: It refused the worker's key or has no such model.
        """
        for target in self._targets.values():
            if target.failure:
                raise target.failure

    def refusal(self) -> ConfigurationError | None:
        """The first request that was refused because of what it asks, of the version before others.

        It is no failure if the application handled it. If rows have no answer, it is the likely
        reason, and another attempt would be refused again.

        Returns:
            None if there is none.
        """
        refused = (target.refused for target in self._targets.values())
        return next(filter(None, refused), None)
