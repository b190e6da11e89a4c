from collections.abc import Sequence
from statistics import fmean

import pytest

from schemas.applications import Application, Columns
from schemas.rows import Row
from schemas.verdicts import Verdict
from tests.worker.publishing.report import cases
from tests.worker.publishing.report.reading import Page
from worker.publishing.predictions import Prediction, read_predictions
from worker.publishing.report import render_report
from worker.verdict.checks import NO_CHAMPION

_HOSTILE = '</dd><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }}'
_FULL = ["header", "checks", "topics", "flips", "wrong", "time", "evidence", "gate"]


def _page(
    verdict: Verdict,
    candidate: Sequence[Prediction] = (),
    champion: Sequence[Prediction] | None = None,
) -> Page:
    return Page.of(render_report(verdict, cases.GATE, candidate, champion))


def _with_links(verdict: Verdict, weave_url: str, run_url: str) -> Verdict:
    evidence = cases.EVIDENCE.model_copy(update={"weave_url": weave_url, "run_url": run_url})
    return verdict.model_copy(update={"evidence": evidence})


@pytest.fixture
def promoted() -> Page:
    return _page(cases.promoted(), cases.candidate(), cases.champion())


@pytest.fixture
def rejected() -> Page:
    evaluated = cases.champion()[: cases.EARLY]
    return _page(cases.rejected(), evaluated, cases.candidate())


def test_the_verdict_and_its_reason_come_first(promoted: Page) -> None:
    assert promoted.sections == ["header", "decision", *_FULL[1:]]
    assert promoted.text("header").startswith(
        "Verdict of gate climate-rag Promoted Finetuned SmolLM2:v3 All 6 thresholds hold."
    )


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (cases.promoted(), "Promoted"),
        (cases.rejected(), "Rejected"),
        (cases.undecided(), "Failed"),
        (cases.failed(), "Failed"),
        (cases.awaiting(), "Awaiting approval"),
    ],
)
def test_every_verdict_gives_a_valid_self_contained_page(verdict: Verdict, words: str) -> None:
    page = _page(verdict, cases.candidate(), cases.champion())
    assert words in page.text("header")
    assert page.tags.count("h1") == 1
    assert page.all("html", "lang") == ["en"]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "style")]
    assert {href[1:] for href in page.all("a", "href") if href[0] == "#"} <= set(ids)


def test_the_decision_shows_who_decided_and_why(promoted: Page) -> None:
    decision = promoted.text("decision")
    assert "Approved by ada , 2026-03-02 14:05 UTC" in decision
    assert "the champion guessed them." in decision


def test_a_verdict_that_awaits_approval_shows_the_commands() -> None:
    decision = _page(cases.awaiting(), cases.candidate(), cases.champion()).text("decision")
    ref = "'acme/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3'"
    assert f"weighbridge approve {ref} --gate climate-rag" in decision
    assert f"weighbridge reject {ref} --gate climate-rag --why" in decision


def test_the_checks_show_the_numbers_of_the_verdict(promoted: Page) -> None:
    expected: list[float] = []
    for check in cases.checks():
        assert check.value is not None
        expected.append(check.value)
        if found := check.comparison:
            expected += [found.champion, found.difference, *found.interval]
            expected += [] if found.p_value is None else [found.p_value]
            expected.append(found.detectable)
            required = getattr(check.threshold, "detectable", None)
            expected += [] if required is None else [required]
    assert promoted.values["checks"] == expected


def test_each_check_shows_its_threshold_and_its_comparison(promoted: Page) -> None:
    text = promoted.text("checks")
    for threshold in cases.GATE.thresholds:
        assert threshold.label in text
        assert str(threshold).replace(">=", "≥").replace("<=", "≤") in text
    assert "66 rows in 22 groups by document_id" in text
    assert "paired bootstrap, BCa, 10,000 resamples" in text
    assert "bound \N{MINUS SIGN}0.05" in text
    assert "On 6 rows." in text


def test_a_failed_check_is_marked_as_failed(rejected: Page) -> None:
    text = rejected.text("checks")
    assert "1 of 2 checks passed." in text
    assert "passed 0.7188 required: ≥ 0.55" in text
    assert "failed 0.7188 required: no worse than champion by 0.05 (95%)" in text


def test_an_undecided_check_is_not_marked_as_failed() -> None:
    text = _page(cases.undecided(), cases.candidate(), cases.champion()).text("checks")
    assert "0 of 2 checks passed." in text
    assert "undecided missing required: ≥ 0.55" in text
    assert "undecided 1 required: ≥ 0.5 6 rows are fewer than the 20" in text
    assert "failed" not in text


def test_the_means_by_topic_are_computed_from_the_rows(promoted: Page) -> None:
    def mean(rows: list[Prediction], topic: str) -> float:
        return fmean(row.score for row in rows if row.topic == topic and row.score is not None)

    theirs, ours = cases.champion(), cases.candidate()
    for topic in {row.topic for row in ours}:
        pair = [mean(ours, topic), mean(theirs, topic)]
        assert f"{topic} 6 {pair[0]:.4g} {pair[1]:.4g}" in promoted.text("topics")
    whole = promoted.values["topics"][-3:]
    checked = cases.checks()[3]
    assert checked.comparison is not None
    assert whole == [checked.value, checked.comparison.champion, checked.comparison.difference]


def test_after_an_early_stop_the_same_rows_are_compared(rejected: Page) -> None:
    same = fmean(row.score for row in cases.candidate()[: cases.EARLY] if row.score is not None)
    assert rejected.values["topics"][-2] == same
    assert "32 of 66 rows" in rejected.text("header")
    assert "32 of 66 rows; the evaluation stopped early" in rejected.text("evidence")


def test_the_rows_of_another_application_are_shown_by_the_gates_columns() -> None:
    gate = cases.GATE.model_copy(
        update={"columns": Columns(input="ask", answer="output.reply.text", topic="meta.area")}
    )
    rows = [
        Row(
            call=area,
            digest=f"row-{area}",
            columns={"ask": f"How is {area}?", "target": "Fine.", "meta": {"area": area}},
            output={"reply": {"text": "Bad."}, "sources": [{"page_content": f"On {area}."}]},
            scores={"answer_correctness": score},
        )
        for area, score in (("shipping", 0.25), ("returns", 0.0))
    ]
    page = Page.of(render_report(cases.first(), gate, read_predictions(rows, gate), None))
    assert "returns 1 0 shipping 1 0.25 All rows 2 0.125" in page.text("topics")
    assert (
        "How is returns? row-returns · returns · wrong answer · score 0 Expected Fine."
        " This version is wrong Bad. Context: 1 passage On returns."
    ) in page.text("wrong")


def test_a_name_of_the_gates_columns_that_no_row_has_is_pointed_out() -> None:
    remark = "columns.topic: area is in no row."
    html = render_report(cases.first(), cases.GATE, cases.candidate(), None, [remark, _HOSTILE])
    text = Page.of(html).text("topics")
    assert text.startswith(f"By topic {remark} {_HOSTILE} There was no champion")
    assert remark not in Page.of(html).text("wrong")


def test_the_rules_are_those_of_a_gate_file_with_an_application() -> None:
    gate = cases.GATE.model_copy(
        update={
            "application": Application.model_validate(
                {
                    "import": ["acme.bot"],
                    "models": {"judge": {"base_url": "https://judge.example/v1"}},
                }
            ),
            "columns": Columns(input="query", topic="area"),
        }
    )
    text = Page.of(render_report(cases.first(), gate, cases.candidate(), None)).text("gate")
    assert "application: import: - acme.bot models: judge: base_url: https://judge.ex" in text
    assert "columns: input: query topic: area" in text


def test_flipped_rows_show_both_answers_and_the_context(promoted: Page) -> None:
    text = promoted.text("flips")
    assert "10 rows lost and 13 gained, of 66." in text
    assert text.index("Lost: the champion was right (10)") < text.index("Gained: ")
    assert (
        "How many weather stations did Callendar use? history-5 · history · wrong answer · score 0"
        " Expected 147 This version is wrong The passages do not say. Champion is right It is 147."
        " Context: 2 passages The Keeling curve rises every year."
    ) in text


def test_rows_that_both_got_wrong_are_listed_apart_from_lost_rows(promoted: Page) -> None:
    text = promoted.text("wrong")
    assert text.startswith("Wrong rows 13 of 66 rows, including the 10 lost above.")
    assert text.count("This version is wrong") == 3


def test_without_flipped_rows_the_page_says_so() -> None:
    page = _page(cases.promoted(), cases.candidate(), cases.candidate())
    assert "None: the version and the champion got the same rows right." in page.text("flips")
    assert page.text("wrong").startswith("Wrong rows 13 of 66 rows.")


def test_a_first_version_has_a_page_without_a_champion() -> None:
    page = _page(cases.first(), cases.candidate(), None)
    assert page.sections == [one for one in _FULL if one != "flips"]
    assert "Compared with nothing" in page.text("header")
    assert "There was no champion to compare with." in page.text("topics")
    assert page.text("checks").count(NO_CHAMPION) == 3
    assert "Champion no comparison" in page.text("evidence")


def test_a_weighing_that_failed_early_has_a_page_too() -> None:
    page = _page(cases.failed())
    assert page.sections == ["header", "checks", "time", "evidence", "gate"]
    assert cases.failed().reason in page.text("header")
    assert "no threshold was checked" in page.text("checks")
    assert "download 2.2 s 100.0%" in page.text("time")
    assert "the weighing ended before the evaluation did" in page.text("evidence")


def test_the_time_of_each_step_is_shown(promoted: Page) -> None:
    assert promoted.values["time"] == [3.412, 11.9, 142.25, 0.613, 4.08]
    assert "evaluate 2 min 22 s 87.7%" in promoted.text("time")


def test_the_evidence_names_every_reference(promoted: Page) -> None:
    text = promoted.text("evidence")
    evidence = cases.promoted().evidence
    assert evidence is not None
    assert evidence.champion is not None
    assert "evaluated again" in text
    for reference in (
        evidence.weave_call,
        evidence.rag_model,
        evidence.evaluation,
        evidence.dataset,
        evidence.champion.version,
        evidence.champion.rag_model,
        evidence.champion.weave_call,
        "acme/wandb-registry-RAG Models/RAG Model:v2",
        "W&B run",
        evidence.run_url,
        "Evaluation in Weave",
        evidence.weave_url,
    ):
        assert str(reference) in text


def test_the_gates_rules_and_digest_are_shown(promoted: Page) -> None:
    text = promoted.text("gate")
    assert cases.GATE.digest in text
    assert "metric: answer_correctness.mean margin: 0.05" in text
    assert "early_stop: confidence: 0.95 batch: 16" in text
    assert "has changed since the verdict" not in text


def test_rules_that_changed_since_the_verdict_are_pointed_out() -> None:
    text = _page(cases.promoted().model_copy(update={"gate_digest": "0ld"})).text("gate")
    assert "Digest 0ld" in text
    assert "The gate has changed since the verdict." in text
    assert f"have the digest {cases.GATE.digest}" in text


def test_text_from_outside_is_escaped() -> None:
    row = cases.prediction(
        _HOSTILE,
        input=_HOSTILE,
        ground_truth=_HOSTILE,
        prediction=_HOSTILE,
        correct=False,
        error_type=_HOSTILE,
        topic=_HOSTILE,
        context=(_HOSTILE,),
    )
    theirs = row.model_copy(update={"correct": True})
    verdict = cases.promoted().model_copy(update={"reason": _HOSTILE, "promoted_ref": _HOSTILE})
    page = _page(_with_links(verdict, _HOSTILE, _HOSTILE), [row], [theirs])
    assert not {"script", "img"} & set(page.tags)
    assert page.text("flips").count(_HOSTILE) == 8
    for section, times in {"header": 1, "topics": 1, "evidence": 3}.items():
        assert page.text(section).count(_HOSTILE) == times


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " javascript:alert(1)//https://wandb.ai",
        "data:text/html,<b>x</b>",
        "file:///etc/passwd",
        "//wandb.ai/x",
        "https://wandb.ai/x y",
        "weave:///ada/climate/object/RagModel:v0",
    ],
)
def test_only_web_addresses_become_links(url: str) -> None:
    page = _page(_with_links(cases.promoted(), url, "https://wandb.ai/r?a=1&b=2"))
    away = [href for href in page.all("a", "href") if href[0] != "#"]
    assert away == ["https://wandb.ai/r?a=1&b=2"]
    assert " ".join(url.split()) in page.text("evidence")


def test_two_thousand_rows_of_long_answers_stay_below_a_megabyte_and_a_half() -> None:
    long = "a" * 10_000
    rows = [
        cases.prediction(
            f"row-{number}",
            input=long,
            ground_truth=long,
            prediction=long,
            correct=number % 3 == 0,
            topic=f"topic {number % 100}",
            context=(long,) * 20,
        )
        for number in range(2000)
    ]
    theirs = [
        row.model_copy(update={"correct": number % 2 == 0}) for number, row in enumerate(rows)
    ]
    html = render_report(cases.promoted(), cases.GATE, rows, theirs)
    assert len(html) < 1_500_000
    page = Page.of(html)
    assert "60 more topics not shown." in page.text("topics")
    assert page.text("flips").count("Only the first 30 are shown.") == 2
    assert "9,000 more characters" in page.text("flips")
    assert "15 more passages not shown." in page.text("flips")
    assert "Only the first 30 are shown. The other 637 rows are" in page.text("wrong")


def test_empty_answers_and_missing_scores_are_labeled() -> None:
    rows = [
        cases.prediction("a", prediction=" ", correct=False, score=None, error_type="no answer"),
        cases.prediction("b", prediction="", correct=False, score=float("nan")),
    ]
    page = _page(cases.first(), rows)
    assert "All rows 2 \N{EN DASH}" in page.text("topics")
    assert "The means leave out 1 row without a score." in page.text("topics")
    assert "no answer · no score Expected the sea This version is wrong empty" in page.text("wrong")


@pytest.mark.parametrize(
    "words", ["海面は何ミリ上昇しますか", "해수면은 얼마나", "كم يرتفع مستوى سطح البحر", "🌊 naïve"]
)
def test_every_writing_system_is_kept(words: str) -> None:
    row = cases.prediction("r", input=words, prediction=words, topic=words, correct=False)
    page = _page(cases.first(), [row])
    assert page.text("wrong").count(words) == 3
    assert words in page.text("topics")


def test_characters_that_html_forbids_are_replaced() -> None:
    row = cases.prediction("r", prediction="x\x00\x1b[31m\ud800y\ufffe", correct=False)
    html = render_report(cases.first(), cases.GATE, [row], None)
    assert "x\ufffd\ufffd[31m\ufffdy\ufffd" in html
    assert html.encode()
