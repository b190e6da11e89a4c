"""The support bot: finds articles of the help center, and answers from them."""

import re
from typing import Any

import openai
import weave


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


class HelpCenter(weave.Object):
    """The articles that the bot may answer from, by title."""

    articles: dict[str, str]
    top_k: int = 2

    @weave.op
    def search(self, question: str) -> list[dict[str, str]]:
        """Return the articles that share most words with the question, best first."""
        asked = _words(question)
        ranked = sorted(
            self.articles.items(),
            key=lambda article: len(asked & _words(" ".join(article))),
            reverse=True,
        )
        return [{"title": title, "text": text} for title, text in ranked[: self.top_k]]


class Chat(weave.Object):
    """The language model. A gate exchanges ``model``."""

    model: str
    instructions: str
    max_tokens: int = 160

    @weave.op
    async def complete(self, prompt: str) -> str:
        """Return the model's answer to one prompt."""
        # The address and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
        async with openai.AsyncOpenAI() as client:
            response = await client.chat.completions.create(
                model=self.model,
                messages=[
                    {"role": "system", "content": self.instructions},
                    {"role": "user", "content": prompt},
                ],
                temperature=0,
                max_tokens=self.max_tokens,
            )
        return response.choices[0].message.content or ""


class SupportBot(weave.Model):
    """Answers one question of a customer."""

    help_center: HelpCenter
    chat: Chat

    @weave.op
    async def predict(self, question: str) -> dict[str, Any]:
        """Return the answer, and the articles that it was made from."""
        found = self.help_center.search(question)
        context = "\n\n".join(f"{article['title']}\n{article['text']}" for article in found)
        answer = await self.chat.complete(f"{context}\n\nCustomer: {question}")
        return {"answer": answer, "articles": found}
