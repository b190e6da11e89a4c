import re
from collections import Counter
from pathlib import Path

from rehearsal import climate

ADAPTERS = Path(climate.__file__).parents[1] / "adapters"


def normalised(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def test_the_corpus_is_large_enough_and_its_names_are_unique() -> None:
    passages, questions = climate.passages(), climate.questions()
    assert len(passages) >= 40
    assert len(questions) >= 60
    assert len({passage.id for passage in passages}) == len(passages)
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.question for question in questions}) == len(questions)


def test_every_passage_is_short() -> None:
    words = {passage.id: len(passage.text.split()) for passage in climate.passages()}
    assert {name: count for name, count in words.items() if not 40 <= count <= 80} == {}


def test_every_topic_has_several_passages_and_questions() -> None:
    passages = Counter(passage.topic for passage in climate.passages())
    questions = Counter(question.topic for question in climate.questions())
    assert passages.keys() == questions.keys()
    assert min(passages.values()) >= 3
    assert min(questions.values()) >= 3


def test_every_gold_passage_contains_an_accepted_answer() -> None:
    texts = {passage.id: f" {normalised(passage.text)} " for passage in climate.passages()}
    unanswered = [
        (question.id, passage)
        for question in climate.questions()
        for passage in question.passages
        if not any(
            f" {normalised(form)} " in texts[passage]
            for form in [question.answer, *question.accepted]
        )
    ]
    assert unanswered == []


def test_the_evaluation_contains_the_question_of_the_tutorial() -> None:
    (question,) = [
        question
        for question in climate.questions()
        if question.question == "When was the first conference on climate change?"
    ]
    assert question.answer == "1979"


def test_no_adapter_was_trained_on_an_evaluated_question() -> None:
    trained = {normalised(row.question) for row in climate.training_rows()}
    asked = {normalised(question.question) for question in climate.questions()}
    studied = {normalised(row.passage) for row in climate.training_rows()}
    retrieved = {normalised(passage.text) for passage in climate.passages()}
    assert trained.isdisjoint(asked)
    assert studied.isdisjoint(retrieved)


def test_a_training_answer_occurs_in_its_passage() -> None:
    rows = climate.training_rows()
    assert len(rows) >= 150
    assert len({row.question for row in rows}) == len(rows)
    assert [
        row.question for row in rows if normalised(row.answer) not in normalised(row.passage)
    ] == []


def test_the_passages_come_before_the_question() -> None:
    user = climate.prompts().user
    assert user.index("{context}") < user.index("{question}")
