"""Publishes the support bot and its evaluation to Weave.

python publish.py acme/support "acme/wandb-registry-Chat Models/Support:v0"
"""

import argparse
import json
from pathlib import Path

import weave

from acme_support.bot import Chat, HelpCenter, SupportBot
from acme_support.scorers import Resolved, as_question, found_article

DATA = Path(__file__).parent / "data"
INSTRUCTIONS = (
    "You answer customers of Acme, in one or two sentences, from the articles alone. "
    "If they do not have the answer, say that you will ask a colleague."
)


def support_bot(version: str) -> SupportBot:
    """Return the bot, with a version of the chat model."""
    articles = json.loads((DATA / "articles.json").read_text())
    return SupportBot(
        help_center=HelpCenter(articles=articles),
        chat=Chat(model=version, instructions=INSTRUCTIONS),
    )


def support_eval() -> weave.Evaluation:
    """Return the evaluation on the tickets that we have answered ourselves."""
    rows = [json.loads(line) for line in (DATA / "tickets.jsonl").read_text().splitlines()]
    return weave.Evaluation(
        name="support_eval",
        dataset=weave.Dataset(name="support_tickets", rows=rows),
        scorers=[Resolved(), found_article],
        preprocess_model_input=as_question,
    )


def main() -> None:
    """Publish both, and print their references."""
    parser = argparse.ArgumentParser(description="Publish the support bot and its evaluation.")
    parser.add_argument("project", help="entity/project in Weave")
    parser.add_argument("version", help="the chat model's version that the bot uses now")
    arguments = parser.parse_args()
    weave.init(arguments.project)
    bot = support_bot(arguments.version)
    print(weave.publish(bot, "SupportBot", aliases=["production"]).uri)
    print(weave.publish(support_eval()).uri)


if __name__ == "__main__":
    main()
