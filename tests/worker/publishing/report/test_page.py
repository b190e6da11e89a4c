from collections.abc import Sequence
from statistics import fmean

import pytest

from schemas.verdicts import Verdict
from tests.worker.publishing.report import cases
from tests.worker.publishing.report.reading import Page
from worker.publishing.predictions import Prediction
from worker.publishing.report import report_page
from worker.verdict.checks import NO_CHAMPION

_HOSTILE = '</dd><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7*7 }}'
_FULL = ["header", "checks", "topics", "flips", "wrong", "time", "evidence", "gate"]


def _page(
    verdict: Verdict,
    candidate: Sequence[Prediction] = (),
    champion: Sequence[Prediction] | None = None,
    links: dict[str, str] = cases.LINKS,
) -> Page:
    return Page.of(report_page(verdict, cases.GATE, candidate, champion, links))


@pytest.fixture
def promoted() -> Page:
    return _page(cases.promoted(), cases.candidate(), cases.champion())


@pytest.fixture
def rejected() -> Page:
    asked = cases.champion()[: cases.EARLY]
    return _page(cases.rejected(), asked, cases.candidate())


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
def test_every_verdict_makes_a_valid_page_that_asks_for_nothing_else(
    verdict: Verdict, words: str
) -> None:
    page = _page(verdict, cases.candidate(), cases.champion())
    assert words in page.text("header")
    assert page.tags.count("h1") == 1
    assert page.all("html", "lang") == ["en"]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "style")]
    assert {place[1:] for place in page.all("a", "href") if place[0] == "#"} <= set(ids)


def test_who_decided_and_why_is_told(promoted: Page) -> None:
    decision = promoted.text("decision")
    assert "Approved by ada , 2026-03-02 14:05 UTC" in decision
    assert "the champion guessed them." in decision


def test_a_verdict_that_awaits_approval_says_how_to_decide() -> None:
    decision = _page(cases.awaiting(), cases.candidate(), cases.champion()).text("decision")
    ref = "'acme/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3'"
    assert f"weighbridge approve {ref} --gate climate-rag" in decision
    assert f"weighbridge reject {ref} --gate climate-rag --why" in decision


def test_the_numbers_of_the_checks_are_the_verdicts(promoted: Page) -> None:
    expected: list[float] = []
    for check in cases.checks():
        assert check.value is not None
        expected.append(check.value)
        if found := check.comparison:
            expected += [found.champion, found.difference, *found.interval]
            expected += [] if found.p_value is None else [found.p_value]
            expected.append(found.detectable)
            demanded = getattr(check.threshold, "detectable", None)
            expected += [] if demanded is None else [demanded]
    assert promoted.values["checks"] == expected


def test_each_check_says_what_it_asks_and_how_it_was_compared(promoted: Page) -> None:
    text = promoted.text("checks")
    for threshold in cases.GATE.thresholds:
        assert threshold.label in text
        assert str(threshold).replace(">=", "≥").replace("<=", "≤") in text
    assert "66 rows in 22 groups by document_id" in text
    assert "paired bootstrap, BCa, 10,000 resamples" in text
    assert "bound \N{MINUS SIGN}0.05" in text
    assert "On 6 rows." in text


def test_a_check_that_fails_says_so(rejected: Page) -> None:
    text = rejected.text("checks")
    assert "1 of 2 thresholds held." in text
    assert "holds 0.7188 asked: ≥ 0.55" in text
    assert "fails 0.7188 asked: no worse than champion by 0.05 (95%)" in text


def test_a_check_that_is_undecided_is_told_from_one_that_fails() -> None:
    text = _page(cases.undecided(), cases.candidate(), cases.champion()).text("checks")
    assert "0 of 2 thresholds held." in text
    assert "undecided missing asked: ≥ 0.55" in text
    assert "undecided 1 asked: ≥ 0.5 6 rows are fewer than the 20" in text
    assert "fails" not in text


def test_the_means_by_topic_are_those_of_the_rows(promoted: Page) -> None:
    def mean(rows: list[Prediction], topic: str) -> float:
        return fmean(row.score for row in rows if row.topic == topic and row.score is not None)

    before, now = cases.champion(), cases.candidate()
    for topic in {row.topic for row in now}:
        pair = [mean(now, topic), mean(before, topic)]
        assert f"{topic} 6 {pair[0]:.4g} {pair[1]:.4g}" in promoted.text("topics")
    whole = promoted.values["topics"][-3:]
    checked = cases.checks()[3]
    assert checked.comparison is not None
    assert whole == [checked.value, checked.comparison.champion, checked.comparison.difference]


def test_an_early_stop_compares_the_rows_that_both_answered(rejected: Page) -> None:
    same = fmean(row.score for row in cases.candidate()[: cases.EARLY] if row.score is not None)
    assert rejected.values["topics"][-2] == same
    assert "32 of 66 rows" in rejected.text("header")
    assert "32 of 66 rows; the evaluation was stopped early" in rejected.text("evidence")


def test_rows_that_flipped_show_both_answers_and_the_context(promoted: Page) -> None:
    text = promoted.text("flips")
    assert "10 rows lost and 13 gained, of 66." in text
    assert text.index("Lost: the champion was right (10)") < text.index("Gained: ")
    assert (
        "How many weather stations did Callendar use? history-5 · history · wrong answer · score 0"
        " Expected 147 This version is wrong The passages do not say. Champion is right It is 147."
        " Context: 2 passages The Keeling curve rises every year."
    ) in text


def test_rows_that_both_got_wrong_stand_apart_from_those_that_were_lost(promoted: Page) -> None:
    text = promoted.text("wrong")
    assert text.startswith("Rows that are wrong 13 of 66 rows, with the 10 lost ones above.")
    assert text.count("This version is wrong") == 3


def test_version_and_champion_that_agree_are_said_to() -> None:
    page = _page(cases.promoted(), cases.candidate(), cases.candidate())
    assert "None: version and champion are right on the same rows." in page.text("flips")
    assert page.text("wrong").startswith("Rows that are wrong 13 of 66 rows.")


def test_a_first_version_has_a_page_without_a_champion() -> None:
    page = _page(cases.first(), cases.candidate(), None)
    assert page.sections == [one for one in _FULL if one != "flips"]
    assert "Compared with nothing" in page.text("header")
    assert "There was no champion to compare with." in page.text("topics")
    assert page.text("checks").count(NO_CHAMPION) == 3
    assert "Champion not compared with any" in page.text("evidence")


def test_a_weighing_that_failed_early_has_a_whole_page_too() -> None:
    page = _page(cases.failed(), links={})
    assert page.sections == ["header", "checks", "time", "evidence", "gate"]
    assert cases.failed().reason in page.text("header")
    assert "no threshold was checked" in page.text("checks")
    assert "download 2.2 s 100.0 %" in page.text("time")
    assert "the weighing ended before the evaluation did" in page.text("evidence")


def test_the_time_of_each_step_is_shown(promoted: Page) -> None:
    assert promoted.values["time"] == [3.412, 11.9, 142.25, 0.613, 4.08]
    assert "evaluate 2 min 22 s 87.7 %" in promoted.text("time")


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
        *cases.LINKS,
        *cases.LINKS.values(),
    ):
        assert str(reference) in text


def test_the_gates_rules_and_digest_are_shown(promoted: Page) -> None:
    text = promoted.text("gate")
    assert cases.GATE.digest in text
    assert "metric: answer_correctness.mean margin: 0.05" in text
    assert "early_stop: confidence: 0.95 batch: 16" in text
    assert "not those of the verdict" not in text


def test_rules_that_changed_since_the_verdict_are_told_apart() -> None:
    text = _page(cases.promoted().model_copy(update={"gate_digest": "0ld"})).text("gate")
    assert "Digest 0ld" in text
    assert f"not those of the verdict: their digest is {cases.GATE.digest}" in text


def test_whatever_comes_from_outside_is_shown_as_text() -> None:
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
    before = row.model_copy(update={"correct": True})
    verdict = cases.promoted().model_copy(update={"reason": _HOSTILE, "promoted_ref": _HOSTILE})
    page = _page(verdict, [row], [before], {_HOSTILE: _HOSTILE})
    assert not {"script", "img"} & set(page.tags)
    assert page.text("flips").count(_HOSTILE) == 8
    for section, times in {"header": 1, "topics": 1, "evidence": 3}.items():
        assert page.text(section).count(_HOSTILE) == times


@pytest.mark.parametrize(
    "place",
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
def test_only_web_addresses_become_links(place: str) -> None:
    page = _page(cases.promoted(), links={"where": place, "run": "https://wandb.ai/r?a=1&b=2"})
    away = [href for href in page.all("a", "href") if href[0] != "#"]
    assert away == ["https://wandb.ai/r?a=1&b=2"]
    assert " ".join(place.split()) in page.text("evidence")


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
    before = [
        row.model_copy(update={"correct": number % 2 == 0}) for number, row in enumerate(rows)
    ]
    html = report_page(cases.promoted(), cases.GATE, rows, before, cases.LINKS)
    assert len(html) < 1_500_000
    page = Page.of(html)
    assert "60 topics left out." in page.text("topics")
    assert page.text("flips").count("The first 30 are shown") == 2
    assert "9,000 more characters" in page.text("flips")
    assert "15 passages left out." in page.text("flips")
    assert "The first 30 are shown, 637 rows left out" in page.text("wrong")


def test_empty_answers_and_missing_scores_are_said_to_be_so() -> None:
    rows = [
        cases.prediction("a", prediction=" ", correct=False, score=None, error_type="no answer"),
        cases.prediction("b", prediction="", correct=False, score=float("nan")),
    ]
    page = _page(cases.first(), rows)
    assert "All rows 2 \N{EN DASH}" in page.text("topics")
    assert "1 row without a score, in no mean." in page.text("topics")
    assert "no answer · no score Expected the sea This version is wrong empty" in page.text("wrong")


@pytest.mark.parametrize(
    "words", ["海面は何ミリ上昇しますか", "해수면은 얼마나", "كم يرتفع مستوى سطح البحر", "🌊 naïve"]
)
def test_every_script_is_kept(words: str) -> None:
    row = cases.prediction("r", input=words, prediction=words, topic=words, correct=False)
    page = _page(cases.first(), [row])
    assert page.text("wrong").count(words) == 3
    assert words in page.text("topics")


def test_what_no_page_may_have_is_replaced() -> None:
    row = cases.prediction("r", prediction="x\x00\x1b[31m\ud800y\ufffe", correct=False)
    html = report_page(cases.first(), cases.GATE, [row], None, cases.LINKS)
    assert "x\ufffd\ufffd[31m\ufffdy\ufffd" in html
    assert html.encode()
