"""The engine for what vLLM cannot serve, and for machines without vLLM.

    python -P -m engine.transformers_server --uds SOCKET [--max-model-len N]

| endpoint                    | does                                                            |
|-----------------------------|-----------------------------------------------------------------|
| `GET /health`               | 200 as soon as it can be asked                                  |
| `POST /load`                | loads a version in place of the one before; its fingerprint     |
| `POST /v1/chat/completions` | answers a conversation, in OpenAI's form, with vLLM's           |
|                             | `chat_template` field                                           |

It starts without a model. Versions are loaded and conversations are answered one at a time, in
the order in which they came; a request whose client has gone is left out. An error is answered as
``{"error": {"message": ...}}``.

Not ``transformers serve`` (transformers 5.19), which listens on a TCP port, loads whatever path
the ``model`` field of a chat request names unless it is bound to one model for good, and refuses
the ``chat_template`` field. ``/load`` asks for no key either: the folder of the socket is the
lock, and only its user may enter.
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

# Seconds that requests get to finish when the server is told to end; its guard waits 10.
_GRACE = 1
# Characters; peft names every weight of every layer that does not fit.
_LONGEST_REASON = 500

T = TypeVar("T")


class NothingLoadedError(Exception):
    """No version is in memory: none was loaded yet, or the last one could not be."""


class UnloadableError(Exception):
    """The version could not be loaded; the message is the reason's type and text."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Loaded(BaseModel):
    """The answer to ``/load``.

    Attributes:
        fingerprint: Names the weights that are in memory now.
    """

    fingerprint: str


class OneModel:
    """The version in memory, and the one thread that works with it.

    Args:
        max_model_len: Longest prompt and answer together, in tokens; None is what each model's
            configuration says.
    """

    def __init__(self, max_model_len: int | None) -> None:
        self._max_model_len = max_model_len
        self._model: TransformersModel | None = None
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=_use_every_core)

    async def load(self, files: VersionFiles, client: Request) -> Loaded:
        """Load a version in place of the one before."""
        return Loaded(fingerprint=await self._in_turn(client, lambda: self._load(files)))

    async def answer(self, request: ChatRequest, client: Request) -> ChatCompletion:
        """Answer a conversation by the version that is loaded when its turn comes."""
        return await self._in_turn(client, lambda: self._answer(request))

    async def _in_turn(self, client: Request, work: Callable[[], T]) -> T:
        async with self._turn:
            if await client.is_disconnected():
                raise ClientGoneError("The client has gone.")
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _load(self, files: VersionFiles) -> str:
        self._model = None
        _free_memory()
        try:
            self._model = TransformersModel(files, self._max_model_len)
        except Exception as error:  # whatever transformers, peft and code of the version raise
            traceback.print_exc()  # before the answer: whoever gets it finds the log complete
            reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" ...")
            said = f"{type(error).__name__}: {reason}"
            if isinstance(error, _OF_THE_VERSION):
                raise UnloadableError(said) from error
            raise RuntimeError(said) from error
        return self._model.fingerprint

    def _answer(self, request: ChatRequest) -> ChatCompletion:
        if self._model is None:
            raise NothingLoadedError("No model version is loaded; POST /load comes first.")
        return self._model.answer(request)


def _use_every_core() -> None:
    """Compute on all cores that this process may use; torch alone leaves some idle."""
    allowed = getattr(os, "sched_getaffinity", None)  # macOS has none
    torch.set_num_threads(len(allowed(0)) if allowed else os.cpu_count() or 1)


def _free_memory() -> None:
    gc.collect()  # modules refer to each other in circles
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


# What a version's own files raise; a lack of memory, disk or packages is the machine's.
_OF_THE_VERSION = (
    ArtifactError, AttributeError, KeyError, TypeError, UserWarning, ValueError, SafetensorError,
)  # fmt: skip

_STATUS: dict[type[Exception], int] = {
    RequestValidationError: 400,
    UnanswerableError: 400,
    ClientGoneError: 499,  # nginx's number; nobody sees it
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
