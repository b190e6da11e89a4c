"""No retrieval at all: a model from the Registry, evaluated alone, two objects deep.

`Chat.ask` is a plain method: what the Weave server has of this class cannot run without the package.
"""

import openai
import weave


class Chat(weave.Object):
    model: str
    temperature: float = 0.0

    def ask(self, text: str) -> str:
        answer = openai.OpenAI().chat.completions.create(
            model=str(self.model),
            messages=[{"role": "user", "content": text}],
            temperature=float(self.temperature),
            max_tokens=16,
        )
        return answer.choices[0].message.content or ""


class Pipeline(weave.Object):
    llm: Chat
    prefix: str = "Answer briefly. "


class ChatOnly(weave.Model):
    pipeline: Pipeline

    @weave.op()
    def predict(self, text: str) -> str:
        return self.pipeline.llm.ask(str(self.pipeline.prefix) + text)


@weave.op()
def exact(expected: str, output: str) -> float:
    return float(expected.strip().lower() == output.strip().lower())


def publish(project: str, version: str) -> tuple[str, str]:
    weave.init(project)
    rows = [
        {"text": "What is the capital of France?", "expected": "Paris"},
        {"text": "What is 2+2?", "expected": "4"},
    ]
    evaluation = weave.Evaluation(
        name="chat_only_eval",
        dataset=weave.Dataset(name="two_questions", rows=rows),
        scorers=[exact],
    )
    model = ChatOnly(pipeline=Pipeline(llm=Chat(model=version)))
    return weave.publish(model, "ChatOnly").uri, weave.publish(evaluation).uri
