"""Publishes what an app team has before the chaos starts: registries, application, evaluation.

``python -m tests.chaos.app_team`` publishes them to the W&B that the environment variables name.
"""

import os
from typing import Any

import wandb
import weave

from application.rag import ChatModel, RagModel, VectorStore, exact_match
from tests.chaos.dataset import BASE_MODEL, EVALUATION, QUESTIONS, question, right_answer

CHAT_MODELS, RAG_MODELS = "Chaos Chat Models", "Chaos RAG Models"
"""The registries of the versions to weigh, and of the promoted applications."""

_EMBEDDINGS = "sentence-transformers/all-MiniLM-L6-v2"


def main() -> None:
    """Create the registries, publish the application and the evaluation."""
    api = wandb.Api()
    for name in (CHAT_MODELS, RAG_MODELS):
        api.create_registry(name, visibility="organization", organization=os.environ["CHAOS_ORG"])
    client = weave.init(f"{os.environ['WANDB_ENTITY']}/{os.environ['WANDB_PROJECT']}")
    weave.publish(_rag_model(), "RagModel")
    weave.publish(_evaluation(), EVALUATION)
    client.flush()


def _rag_model() -> RagModel:
    passages = [
        {"id": str(number), "title": f"Thing {number}", "text": right_answer(number)}
        for number in range(QUESTIONS)
    ]
    return RagModel(
        chat_model=ChatModel(
            chat_model=BASE_MODEL,
            cm_temperature=0.0,
            cm_max_new_tokens=8,
            cm_quantize=False,
            inference_batch_size=QUESTIONS,
            dtype=None,
            device="auto",
        ),
        vector_store=VectorStore.build(passages, _EMBEDDINGS),
        system_prompt=weave.StringPrompt("Answer."),
        user_prompt=weave.StringPrompt("{context}\n\n{question}"),
        n_documents=1,
    )


def _evaluation() -> weave.Evaluation:
    rows: list[dict[str, Any]] = [
        {"question": question(number), "answer": right_answer(number), "accepted": []}
        for number in range(QUESTIONS)
    ]
    dataset = weave.Dataset(name="chaos_questions", rows=rows)
    return weave.Evaluation(name=EVALUATION, dataset=dataset, scorers=[exact_match])


if __name__ == "__main__":
    main()
