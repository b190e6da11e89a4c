"""The RAG application on a real engine."""

import asyncio
from pathlib import Path

import pytest

from application.rag.serving import serving
from engine import Engine
from rehearsal import app_team

pytestmark = pytest.mark.engine


def test_the_application_answers_from_its_passages(engine: Engine, base_folder: Path) -> None:
    application = app_team.rag_model()
    chat_model = application.chat_model.chat_model
    with engine.serve(base_folder, chat_model) as model, serving(chat_model, model):
        output = asyncio.run(
            application.predict("In which year did Eunice Foote lay cylinders of gas in the sun?")
        )
    assert "1856" in output["answer"]
    assert output["context"][0]["id"] == "eunice-foote"
