import math

import pytest
from openai.types.chat import ChatCompletionMessage, ChatCompletionTokenLogprob
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs

from application.rag.chat_model import confidence


def _choice(*probabilities: float) -> Choice:
    tokens = [
        ChatCompletionTokenLogprob(token="x", logprob=math.log(one), top_logprobs=[])
        for one in probabilities
    ]
    return Choice(
        finish_reason="stop",
        index=0,
        message=ChatCompletionMessage(role="assistant", content="x"),
        logprobs=ChoiceLogprobs(content=tokens) if tokens else None,
    )


def test_confidence_is_the_geometric_mean_of_the_tokens_probabilities() -> None:
    assert confidence(_choice(1.0, 0.25)) == pytest.approx(0.5)


def test_without_token_probabilities_the_confidence_is_unknown() -> None:
    assert confidence(_choice()) is None
