"""Sends one signed webhook request, without retries."""

import base64
import hashlib
import hmac
import urllib.error
import urllib.request

from local_wandb.config import Webhook

#: Seconds after which a delivery without an answer has failed.
TIMEOUT_S = 10

#: Without proxies, which cannot reach the loopback addresses of this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def deliver(webhook: Webhook, body: bytes) -> str:
    """Send one delivery; like W&B, never retry it.

    Args:
        webhook: The receiver.
        body: The JSON body.

    Returns:
        The outcome, as text for the log.
    """
    # pydantic's HttpUrl accepts the schemes http and https only.
    request = urllib.request.Request(  # noqa: S310
        str(webhook.url), data=body, headers=_headers(webhook, body), method="POST"
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as response:
            return f"answered {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered {error.code}"
    except OSError as error:
        return f"failed, {error}"


def signature(secret: str, body: bytes) -> str:
    """Return the value of ``X-Wandb-Signature``.

    Args:
        secret: The secret that the receiver shares.
        body: The body of the request.
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _headers(webhook: Webhook, body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if webhook.token is not None:
        headers["Authorization"] = f"Bearer {webhook.token.get_secret_value()}"
    if webhook.secret is not None:
        headers["X-Wandb-Signature"] = signature(webhook.secret.get_secret_value(), body)
    return headers
