"""The tutorial's shape: the chat model is an object that downloads a version and loads it itself."""

from typing import Any

import wandb
import weave
from pydantic import PrivateAttr

PASSAGES = [
    {"id": "p1", "text": "The first World Climate Conference was held in Geneva in 1979."},
    {"id": "p2", "text": "Coral reefs bleach when the water stays too warm for weeks."},
    {"id": "p3", "text": "Peatlands store twice as much carbon as all forests."},
]


class SelfLoadingChatModel(weave.Model):
    chat_model: str
    cm_temperature: float
    cm_max_new_tokens: int
    cm_quantize: bool
    inference_batch_size: int
    dtype: Any
    device: str
    _model: Any = PrivateAttr()
    _tokenizer: Any = PrivateAttr()

    def model_post_init(self, __context: Any) -> None:
        # An adapter over a base that peft finds; a full checkpoint works, too.
        from peft import AutoPeftModelForCausalLM
        from transformers import AutoTokenizer

        name = str(self.chat_model).replace("wandb-artifact:///", "")
        run = wandb.run or wandb.init(job_type="model_download")
        folder = run.use_artifact(name).download()
        self._model = AutoPeftModelForCausalLM.from_pretrained(folder)
        base = self._model.peft_config["default"].base_model_name_or_path
        self._tokenizer = AutoTokenizer.from_pretrained(base)

    @weave.op()
    async def predict(self, query: list[dict]) -> str:
        ids = self._tokenizer.apply_chat_template(
            query, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = self._model.generate(
            **ids, max_new_tokens=int(self.cm_max_new_tokens), do_sample=False
        )
        return self._tokenizer.decode(
            out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True
        ).strip()


class WordStore(weave.Object):
    passages: list[dict]

    @weave.op()
    def search(self, query: str, n: int) -> list[dict]:
        words = set(query.lower().split())
        return sorted(self.passages, key=lambda p: -len(words & set(p["text"].lower().split())))[:n]


class RagModel(weave.Model):
    chat_model: SelfLoadingChatModel
    vector_db: WordStore
    rag_prompt_system: str
    n_documents: int = 1

    @weave.op()
    async def predict(self, query: str) -> dict:
        found = self.vector_db.search(query, int(self.n_documents))
        text = "\n".join(p["text"] for p in found)
        answer = await self.chat_model.predict(
            [
                {"role": "system", "content": str(self.rag_prompt_system)},
                {"role": "user", "content": f"{text}\n\nQuestion: {query}"},
            ]
        )
        return {"result": answer, "source_documents": found}


@weave.op()
def mentions(answer: str, output: dict) -> dict:
    return {"correct": answer.lower() in output["result"].lower()}


def publish(project: str, version: str) -> tuple[str, str]:
    """`version` is the Registry reference of the adapter that the application runs today."""
    weave.init(project)
    chat = SelfLoadingChatModel(
        chat_model=version,
        cm_temperature=0.0,
        cm_max_new_tokens=16,
        cm_quantize=False,
        inference_batch_size=1,
        dtype=None,
        device="cpu",
    )
    model = RagModel(
        chat_model=chat,
        vector_db=WordStore(passages=PASSAGES),
        rag_prompt_system="Answer in one word or number.",
    )
    rows = [
        {"query": "When was the first World Climate Conference?", "answer": "1979"},
        {"query": "Where was the first World Climate Conference?", "answer": "Geneva"},
        {"query": "What stores twice as much carbon as all forests?", "answer": "Peatlands"},
    ]
    evaluation = weave.Evaluation(
        name="self_loading_eval",
        dataset=weave.Dataset(name="questions", rows=rows),
        scorers=[mentions],
    )
    return weave.publish(model, "RagModel").uri, weave.publish(evaluation).uri
