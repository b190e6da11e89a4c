"""The app team's part: publish the RAG application and its evaluation, once.

``python -m rehearsal.app_team`` does so on the W&B that the environment names. It also creates the
registries that the two teams share.
"""

import os

import wandb
import weave

from application.rag import (
    ChatModel,
    RagModel,
    VectorStore,
    answer_correctness,
    context_recall,
    exact_match,
)
from rehearsal import climate
from rehearsal.base_model import BASE_MODEL
from rehearsal.services import CHAT_MODELS, RAG_MODELS

EVALUATION = "climate_rag_eval"
_EMBEDDINGS = "sentence-transformers/all-MiniLM-L6-v2"
_DOCUMENTS = 2  # passages per question


def main() -> None:
    """Create the registries, publish the application and the evaluation."""
    entity, project = os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]
    _make_registries(os.environ["WEIGHBRIDGE_REHEARSAL_ORG"])
    client = weave.init(f"{entity}/{project}")
    weave.publish(rag_model(), "RagModel")
    weave.publish(evaluation(), EVALUATION)
    client.flush()


def rag_model() -> RagModel:
    """Return the application around the base model, before any fine-tuning."""
    prompts = climate.prompts()
    return RagModel(
        chat_model=ChatModel(
            chat_model=BASE_MODEL,
            cm_temperature=0.0,
            cm_max_new_tokens=64,
            cm_quantize=False,
            inference_batch_size=20,
            dtype="bfloat16",
            device="auto",
        ),
        vector_store=VectorStore.build(
            [passage.model_dump() for passage in climate.passages()], _EMBEDDINGS
        ),
        system_prompt=weave.StringPrompt(prompts.system),
        user_prompt=weave.StringPrompt(prompts.user),
        n_documents=_DOCUMENTS,
    )


def evaluation() -> weave.Evaluation:
    """Return the evaluation: every climate question, and three scorers."""
    rows = [question.model_dump() for question in climate.questions()]
    return weave.Evaluation(
        name=EVALUATION,
        dataset=weave.Dataset(name="climate_questions", rows=rows),
        scorers=[answer_correctness, exact_match, context_recall],
    )


def _make_registries(organization: str) -> None:
    api = wandb.Api()
    existing = {registry.name for registry in api.registries(organization=organization)}
    for name in (CHAT_MODELS, RAG_MODELS):
        if name not in existing:
            api.create_registry(name=name, visibility="organization", organization=organization)


if __name__ == "__main__":
    main()
