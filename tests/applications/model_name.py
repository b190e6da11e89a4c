"""A string names the model; an OpenAI client, made from the environment, asks for it."""

from typing import Any

import openai
import weave

DOCS = {
    "returns": "Goods may be returned within 30 days.",
    "shipping": "Parcels take 2 to 4 days.",
    "card": "We take Visa and Mastercard.",
}


class SupportBot(weave.Model):
    model_name: str
    system_message: str
    top_k: int = 1

    @weave.op()
    def retrieve(self, prompt: str) -> list[str]:
        words = set(prompt.lower().strip("?").split())
        ranked = sorted(
            DOCS,
            key=lambda key: -len(words & set(f"{key} {DOCS[key]}".lower().rstrip(".").split())),
        )
        return ranked[: int(self.top_k)]

    @weave.op()
    def predict(self, prompt: str) -> dict[str, Any]:
        found = self.retrieve(prompt)
        answer = openai.OpenAI().chat.completions.create(
            model=self.model_name,
            messages=[
                {"role": "system", "content": self.system_message},
                {"role": "user", "content": f"{' '.join(DOCS[key] for key in found)}\n{prompt}"},
            ],
            temperature=0,
            max_tokens=24,
        )
        return {"response": answer.choices[0].message.content or "", "sources": found}


class Grounded(weave.Scorer):
    """A class scorer whose summary is its own."""

    weight: float = 1.0

    @weave.op()
    def score(self, target: str, output: dict[str, Any]) -> dict[str, Any]:
        return {
            "hit": target.lower() in output["response"].lower(),
            "sources": len(output["sources"]),
        }

    @weave.op()
    def summarize(self, score_rows: list[dict[str, Any]]) -> dict[str, Any]:
        hits = [bool(row["hit"]) for row in score_rows]
        return {"rate": float(self.weight) * sum(hits) / len(hits), "hits": sum(hits)}


@weave.op()
def as_prompt(example: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": example["input"]}


def publish(project: str, version: str) -> tuple[str, str]:
    weave.init(project)
    bot = SupportBot(model_name=version, system_message="Answer briefly from the text.")
    rows = [
        {"input": "How long do parcels take?", "target": "2 to 4 days", "area": "shipping"},
        {"input": "Until when may goods be returned?", "target": "30 days", "area": "returns"},
        {"input": "Which card do we take?", "target": "Visa", "area": "card"},
    ]
    evaluation = weave.Evaluation(
        name="support_eval",
        dataset=weave.Dataset(name="support_cases", rows=rows),
        scorers=[Grounded()],
        preprocess_model_input=as_prompt,
    )
    return weave.publish(bot, "SupportBot").uri, weave.publish(evaluation).uri
