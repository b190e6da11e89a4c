"""A judge asks another model over the same variables: a version must never be its own judge."""

import openai
import weave

JUDGE = "judge-model"  # of the team's own endpoint


class Answerer(weave.Model):
    model_name: str

    @weave.op()
    async def predict(self, question: str) -> str:
        answer = await openai.AsyncOpenAI().chat.completions.create(
            model=self.model_name,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=24,
        )
        return answer.choices[0].message.content or ""


@weave.op()
async def judged(question: str, expected: str, output: str) -> dict:
    said = await openai.AsyncOpenAI().chat.completions.create(
        model=JUDGE,
        messages=[
            {
                "role": "user",
                "content": f"{question}\nExpected: {expected}\nGiven: {output}\nSame? yes or no",
            }
        ],
        temperature=0,
        max_tokens=4,
    )
    return {"same": (said.choices[0].message.content or "").strip().lower().startswith("yes")}


def publish(project: str, version: str) -> tuple[str, str]:
    weave.init(project)
    rows = [
        {"question": "What is the capital of France?", "expected": "Paris"},
        {"question": "What is 2 + 2?", "expected": "4"},
    ]
    evaluation = weave.Evaluation(
        name="judged_eval", dataset=weave.Dataset(name="capitals", rows=rows), scorers=[judged]
    )
    return weave.publish(Answerer(model_name=version), "Answerer").uri, weave.publish(
        evaluation
    ).uri
