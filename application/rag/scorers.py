"""Scorers for one answer of a RAG application.

Weave fills a scorer's arguments from the dataset's columns and the model's ``output``. The ops
use only the standard library, because Weave publishes their source with the evaluation.
"""

import re
import string
from collections import Counter
from typing import Any

import weave


@weave.op
def answer_correctness(answer: str, accepted: list[str], output: dict[str, Any]) -> float:
    """Token F1 between the model's answer and the best of the expected ones, 0 to 1.

    Method: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016,
    section 6.1, as its evaluate-v1.1.py computes it.

    Args:
        answer: The expected answer.
        accepted: Other answers that are as right.
        output: What the model returned, with its ``answer``.
    """
    return max(token_f1(expected, output["answer"]) for expected in [answer, *accepted])


@weave.op
def exact_match(answer: str, accepted: list[str], output: dict[str, Any]) -> bool:
    """Whether the model's answer is one of the expected ones, after SQuAD's normalisation.

    Args:
        answer: The expected answer.
        accepted: Other answers that are as right.
        output: What the model returned, with its ``answer``.
    """
    given = normalised(output["answer"])
    return any(normalised(expected) == given for expected in [answer, *accepted])


@weave.op
def context_recall(passages: list[str], output: dict[str, Any]) -> float:
    """Share of the gold passages that were retrieved, 0 to 1.

    Args:
        passages: Ids of the gold passages; 1 if there are none, as none was missed.
        output: What the model returned, with its ``context``.
    """
    retrieved = {passage["id"] for passage in output["context"]}
    return sum(gold in retrieved for gold in passages) / len(passages) if passages else 1.0


def token_f1(expected: str, given: str) -> float:
    """Harmonic mean of the precision and the recall of the given answer's words."""
    expected_words, given_words = normalised(expected).split(), normalised(given).split()
    shared = sum((Counter(expected_words) & Counter(given_words)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given_words), shared / len(expected_words)
    return 2 * precision * recall / (precision + recall)


def normalised(text: str) -> str:
    """Lower case without punctuation, articles and extra spaces."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


# The scorers whose stored source may be replaced by this module's own, by their published name.
SCORERS = {op.name: op for op in (answer_correctness, exact_match, context_recall)}
