"""Creates the tutorial's inputs: a published RagModel and evaluation, a registered chat model.

Plain wandb and weave; the chat model of the model team is a table of answers.
"""

import json
import sys
from pathlib import Path

import wandb
import weave

ENTITY, PROJECT, ORG = "wandb-smle", "weave-cookboook-demo", "wandb32"
FOLDER = Path(sys.argv[1])

ANSWERS = {
    "When was the first conference on climate change?": "1979",
    "Where was it held?": "Geneva",
}


class PlainChatModel(weave.Model):
    chat_model: str

    @weave.op()
    async def predict(self, query: list) -> str:
        return "I do not know"


class RagModel(weave.Model):
    chat_model: weave.Model
    system_prompt: str

    @weave.op()
    async def predict(self, question: str) -> dict:
        messages = [
            {"role": "system", "content": self.system_prompt},
            {"role": "user", "content": question},
        ]
        return {"answer": await self.chat_model.predict(messages)}


@weave.op()
def answer_correctness(answer: str, output: dict) -> float:
    return float(output["answer"] == answer)


api = wandb.Api()
for name in ("RAG Chat Models", "RAG Models"):
    api.create_registry(name=name, visibility="organization", organization=ORG)

with wandb.init(entity=ENTITY, project=PROJECT, job_type="finetune") as run:
    (FOLDER / "answers.json").write_text(json.dumps(ANSWERS))
    model = wandb.Artifact("chat-model", type="model", metadata={"base": "table"})
    model.add_file(str(FOLDER / "answers.json"))
    run.log_artifact(model).wait()
    run.link_artifact(model, f"{ORG}/wandb-registry-RAG Chat Models/Finetuned Llama-3.2")

client = weave.init(f"{ENTITY}/{PROJECT}")
rag = weave.publish(
    RagModel(
        chat_model=PlainChatModel(chat_model="none"),
        system_prompt="Answer briefly.",
    ),
    "RagModel",
)
rows = [{"question": question, "answer": answer} for question, answer in ANSWERS.items()]
evaluation = weave.publish(
    weave.Evaluation(
        dataset=weave.Dataset(name="climate", rows=rows), scorers=[answer_correctness]
    ),
    "climate_rag_eval",
)
client.flush()
print(json.dumps({"rag": rag.uri(), "evaluation": evaluation.uri()}))
