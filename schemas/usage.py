"""What the requests to one model used, as the gateway counts it (``engine/gateway.py``)."""

from pydantic import BaseModel, ConfigDict


class ModelUsage(BaseModel):
    """The requests to one model in one weighing.

    Attributes:
        requests: All requests, failed ones included.
        failed_requests: Requests that were refused, answered with an error or cut off, also by the
            application itself. Their tokens are not known and not counted.
        uncounted_requests: Successful requests whose answer does not say how many tokens it took.
            If there are any, the token counts are too low.
        prompt_tokens: Tokens of the prompts.
        completion_tokens: Tokens of the answers.
        total_tokens: Tokens of both.
        seconds: How long each successful request took, in the order in which they ended: from its
            arrival to the last byte of its answer, waiting and retries included.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    failed_requests: int = 0
    uncounted_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    seconds: tuple[float, ...] = ()
