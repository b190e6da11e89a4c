"""A fake vLLM server: its protocol and its adapters, without a model.

It serves the OpenAI protocol and vLLM's ``load_lora_adapter``. It answers what
the loaded version knows. Like vLLM, it loses every adapter when it ends.

``python -m tests.chaos.fake_engine PORT``
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.chaos.dataset import BASE_MODEL, Version

_loaded: dict[str, Version] = {}


class _NotFoundError(Exception):
    """The model or file does not exist: vLLM answers 404."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": name} for name in [BASE_MODEL, *_loaded]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._answer(200, _ENDPOINTS[self.path](body))
        except _NotFoundError as error:
            self._answer(404, {"error": {"message": str(error), "type": "NotFoundError"}})

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _load(body: dict[str, Any]) -> dict[str, Any]:
    try:
        _loaded[body["lora_name"]] = Version.read(Path(body["lora_path"]))
    except FileNotFoundError as error:
        raise _NotFoundError(f"No adapter for {body['lora_name']}: {error}") from error
    return {}


def _unload(body: dict[str, Any]) -> dict[str, Any]:
    _version(body["lora_name"])
    del _loaded[body["lora_name"]]
    return {}


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    text = _version(body["model"]).answer(body["messages"][-1]["content"])
    message = {"role": "assistant", "content": text}
    return {
        "id": "chat",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _version(name: str) -> Version:
    if name not in _loaded:
        raise _NotFoundError(f"The model `{name}` does not exist.")
    return _loaded[name]


_ENDPOINTS = {
    "/v1/load_lora_adapter": _load,
    "/v1/unload_lora_adapter": _unload,
    "/v1/chat/completions": _chat,
}


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
