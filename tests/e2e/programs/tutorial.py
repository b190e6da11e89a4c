"""The tutorial's cells, sections 2 to 5, in their order and words; the chat model needs no unsloth.

Arguments: the RagModel's ref and the evaluation's ref.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import wandb
import weave
from pydantic import PrivateAttr

PROJECT = "weave-cookboook-demo"
ENTITY = "wandb-smle"
ORG_ENTITY = "wandb32"
RAG_MODEL, WEAVE_EVAL = sys.argv[1:]

wandb.login()
weave.init(ENTITY + "/" + PROJECT)


class TableChatModel(weave.Model):
    chat_model: str
    cm_temperature: float
    cm_max_new_tokens: int
    cm_quantize: bool
    inference_batch_size: int
    dtype: Any
    device: str
    _answers: Any = PrivateAttr()

    def model_post_init(self, __context):
        run = wandb.init(project=PROJECT, job_type="model_download")
        artifact_ref = self.chat_model.replace("wandb-artifact:///", "")
        artifact = run.use_artifact(artifact_ref)
        model_path = artifact.download()
        self._answers = json.loads((Path(model_path) / "answers.json").read_text())

    @weave.op()
    async def predict(self, query: list) -> str:
        return self._answers.get(query[-1]["content"], "Berlin")


MODEL_REG_URL = (
    f"wandb-artifact:///{ORG_ENTITY}/wandb-registry-RAG Chat Models/Finetuned Llama-3.2:v0"
)
new_chat_model = TableChatModel(
    name="TableChatModelRag",
    chat_model=MODEL_REG_URL,
    cm_temperature=1.0,
    cm_max_new_tokens=2048,
    cm_quantize=True,
    inference_batch_size=2048,
    dtype=None,
    device="auto",
)


async def cells() -> None:
    await new_chat_model.predict([{"role": "user", "content": "What is the capital of Germany?"}])

    # 3. a new ChatModel version into the RagModel
    RagModel = weave.ref(RAG_MODEL).get()
    RagModel.chat_model = new_chat_model
    PUB_REFERENCE = weave.publish(RagModel, "RagModel")
    answer = await RagModel.predict("When was the first conference on climate change?")

    # 4. the existing evaluation, connected to a run
    climate_rag_eval = weave.ref(WEAVE_EVAL).get()
    run = wandb.init()
    with weave.attributes({"wandb-run-id": run.id}):
        summary, call = await climate_rag_eval.evaluate.call(climate_rag_eval, RagModel)

    # 5. the new RAG model into the registry
    MODELS_OBJECT_VERSION = PUB_REFERENCE.digest
    MODELS_OBJECT_NAME = PUB_REFERENCE.name
    models_url = f"https://wandb.ai/{ENTITY}/{PROJECT}/weave/objects/{MODELS_OBJECT_NAME}/versions/{MODELS_OBJECT_VERSION}"
    models_link = f"weave:///{ENTITY}/{PROJECT}/object/{MODELS_OBJECT_NAME}:{MODELS_OBJECT_VERSION}"
    with wandb.init(project=PROJECT, entity=ENTITY) as run:
        artifact_model = wandb.Artifact(
            name="RagModel",
            type="model",
            description="Models Link from RagModel in Weave",
            metadata={"url": models_url},
        )
        artifact_model.add_reference(models_link, name="model", checksum=False)
        run.log_artifact(artifact_model, aliases=[MODELS_OBJECT_VERSION])
        run.link_artifact(artifact_model, target_path="wandb32/wandb-registry-RAG Models/RAG Model")
    print(
        json.dumps(
            {
                "answer": answer,
                "summary": summary,
                "call": call.id,
                "link": models_link,
                "digest": MODELS_OBJECT_VERSION,
            }
        )
    )


asyncio.run(cells())
