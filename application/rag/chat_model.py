"""The chat model of a RAG application: a version in the Registry and its sampling parameters."""

import math
from statistics import fmean
from typing import Any

import weave
from openai.types.chat.chat_completion import Choice

from application.rag.serving import endpoint_of


class ChatModel(weave.Model):
    """A fine-tuned chat model, with the parameter names of the W&B tutorial.

    Attributes:
        chat_model: The model version, ``wandb-artifact:///ORG/wandb-registry-NAME/COLLECTION:vN``.
        cm_temperature: Sampling temperature; 0 is greedy.
        cm_max_new_tokens: Maximum length of an answer, in tokens.
        cm_quantize: Whether the weights are quantised to 4 bits when they are loaded.
        inference_batch_size: Intended number of concurrent requests.
        dtype: Type of the weights; None means that of the checkpoint.
        device: Where the model runs; "auto" leaves the choice to the engine.
    """

    chat_model: str
    cm_temperature: float
    cm_max_new_tokens: int
    cm_quantize: bool
    inference_batch_size: int
    dtype: str | None
    device: str

    @weave.op
    async def predict(self, query: list[dict[str, str]]) -> dict[str, Any]:
        """Answer a conversation.

        Args:
            query: OpenAI messages, ``{"role", "content"}``.

        Returns:
            ``content``; ``confidence``, 0 to 1, if the engine tells how likely its tokens were;
            and ``model`` and ``usage``, which Weave takes for the trace's tokens
            (weave 0.54, ``WeaveClient.finish_call``).
        """
        endpoint = endpoint_of(str(self.chat_model))
        completion = await endpoint.chat(
            query,
            temperature=float(self.cm_temperature),
            max_tokens=int(self.cm_max_new_tokens),
        )
        usage, choice = completion.usage, completion.choices[0]
        return {
            "content": (choice.message.content or "").strip(),
            "confidence": confidence(choice),
            "model": endpoint.name,
            "usage": usage.model_dump(include=set(_TOKENS)) if usage else {},
        }


def confidence(choice: Choice) -> float | None:
    """How likely the answer's tokens were for the model: their geometric mean, 0 to 1.

    Returns:
        None if the engine does not tell.
    """
    tokens = choice.logprobs.content if choice.logprobs else None
    return math.exp(fmean(token.logprob for token in tokens)) if tokens else None


# A list, because Weave publishes it with the source and the order of a set varies by process.
_TOKENS = ["prompt_tokens", "completion_tokens", "total_tokens"]
