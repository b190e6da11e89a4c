"""The model server for versions that vLLM cannot serve, and for machines without vLLM.

    python -P -m engine.transformers_server --uds SOCKET [--max-model-len N]

| endpoint                    | what it does                                                    |
|-----------------------------|-----------------------------------------------------------------|
| `GET /health`               | answers 200                                                     |
| `POST /load`                | replaces the loaded version; returns its fingerprint            |
| `POST /v1/chat/completions` | OpenAI's chat completions, with vLLM's `chat_template` field    |

The server starts without a model. It handles one request at a time, in the order of their arrival,
and skips a request whose client has disconnected. Errors have the body
``{"error": {"message": ...}}``.

``transformers serve`` (transformers 5.19) is not used: it listens on a TCP port, loads any path in
a request's ``model`` field unless it is bound to a single model, and refuses ``chat_template``.
``/load`` needs no API key, because only this user can enter the folder of the socket.
"""

import argparse
import asyncio
import gc
import os
import textwrap
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
import transformers
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel
from safetensors import SafetensorError

from engine.transformers_loading import VersionFiles
from engine.transformers_model import ChatRequest, TransformersModel, UnanswerableError
from schemas.errors import ArtifactError

# Seconds in which requests may finish after SIGTERM; the guard waits 10.
_GRACE = 1
# Characters. peft lists every weight that does not fit.
_LONGEST_REASON = 500

T = TypeVar("T")


class NothingLoadedError(Exception):
    """No version is loaded, because there was no request to load one or the last one failed."""


class UnloadableError(Exception):
    """The version cannot be loaded; the message is the type and the text of the cause."""


class ClientGoneError(Exception):
    """The client has disconnected."""


class Loaded(BaseModel):
    """The answer to ``/load``.

    Attributes:
        fingerprint: Digest of the weights in memory.
    """

    fingerprint: str


class OneModel:
    """The loaded version, and the one thread that uses it.

    Args:
        max_model_len: Longest prompt plus answer, in tokens; None means the limit in each model's
            configuration.
    """

    def __init__(self, max_model_len: int | None) -> None:
        self._max_model_len = max_model_len
        self._model: TransformersModel | None = None
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=_use_every_core)

    async def load(self, files: VersionFiles, client: Request) -> Loaded:
        """Replace the loaded version."""
        return Loaded(fingerprint=await self._run(client, lambda: self._load(files)))

    async def answer(self, request: ChatRequest, client: Request) -> ChatCompletion:
        """Answer a conversation with the version that is loaded when its processing begins."""
        return await self._run(client, lambda: self._answer(request))

    async def _run(self, client: Request, work: Callable[[], T]) -> T:
        async with self._lock:
            if await client.is_disconnected():
                raise ClientGoneError("The client has disconnected.")
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _load(self, files: VersionFiles) -> str:
        self._model = None
        _free_memory()
        try:
            self._model = TransformersModel(files, self._max_model_len)
        except Exception as error:  # anything that transformers, peft or the version's code raises
            traceback.print_exc()  # before the answer, so that its receiver finds a complete log
            reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" ...")
            said = f"{type(error).__name__}: {reason}"
            if isinstance(error, _VERSION_ERRORS):
                raise UnloadableError(said) from error
            raise RuntimeError(said) from error
        return self._model.fingerprint

    def _answer(self, request: ChatRequest) -> ChatCompletion:
        if self._model is None:
            raise NothingLoadedError("No model version is loaded; POST /load comes first.")
        return self._model.answer(request)


def _use_every_core() -> None:
    """Use all cores that this process may use; torch itself leaves some idle."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    torch.set_num_threads(len(allowed(0)) if allowed else os.cpu_count() or 1)


def _free_memory() -> None:
    gc.collect()  # modules hold cyclic references
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


# Errors caused by the version's files; a lack of memory, disk space or packages is not among them.
_VERSION_ERRORS = (
    ArtifactError, AttributeError, KeyError, TypeError, UserWarning, ValueError, SafetensorError,
)  # fmt: skip

_STATUS: dict[type[Exception], int] = {
    RequestValidationError: 400,
    UnanswerableError: 400,
    ClientGoneError: 499,  # nginx's status; no client receives it
    UnloadableError: 422,
    NothingLoadedError: 503,
    Exception: 500,  # uvicorn logs it
}


def application(max_model_len: int | None) -> FastAPI:
    """The server's endpoints.

    Args:
        max_model_len: See ``OneModel``.
    """
    app = FastAPI(openapi_url=None)
    model = OneModel(max_model_len)

    @app.get("/health")
    async def health() -> Response:
        return Response()

    app.post("/load")(model.load)
    app.post("/v1/chat/completions", response_model_exclude_unset=True)(model.answer)
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, _refusal(status))
    return app


def _refusal(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def respond(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error)}}, status)

    return respond


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True, help="path of the Unix socket")
    parser.add_argument("--max-model-len", type=int, help="tokens of prompt and answer together")
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    uvicorn.run(
        application(arguments.max_model_len),
        uds=arguments.uds,
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
    )


if __name__ == "__main__":
    main()
