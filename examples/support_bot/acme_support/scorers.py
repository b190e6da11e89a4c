"""What a good answer is."""

from typing import Any

import weave


class Resolved(weave.Scorer):
    """Whether the answer has what the customer needs to know, or hands over to a colleague."""

    handover: str = "ask a colleague"

    @weave.op
    def score(self, expected: str, output: dict[str, Any]) -> dict[str, bool]:
        """Score one answer."""
        answer = output["answer"].lower()
        return {
            "resolved": expected.lower() in answer,
            "handed_over": self.handover in answer,
        }

    @weave.op
    def summarize(self, score_rows: list[dict[str, bool]]) -> dict[str, Any]:
        """Count a handover as half resolved: it is better than a wrong answer."""
        resolved = sum(row["resolved"] for row in score_rows)
        handed_over = sum(row["handed_over"] and not row["resolved"] for row in score_rows)
        return {
            "rate": (resolved + handed_over / 2) / len(score_rows),
            "handed_over": handed_over,
        }


@weave.op
def found_article(article: str, output: dict[str, Any]) -> bool:
    """Whether the right article was among those that the answer was made from."""
    return any(found["title"] == article for found in output["articles"])


@weave.op
def as_question(example: dict[str, Any]) -> dict[str, str]:
    """Turn a ticket of the dataset into the bot's argument."""
    return {"question": example["ticket"].strip()}
