"""Fills the page of a verdict."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.gates import Gate
from schemas.verdicts import Verdict
from worker.publishing.predictions import Prediction, flips
from worker.publishing.report.charts import check_axis, means_scale, segments
from worker.publishing.report.figures import duration, number, signed
from worker.publishing.report.topics import by_topic, overall

# A page stays readable, and below a few megabytes, whatever a model answers.
_LIMITS = {
    "ROWS": 30,  # in each list
    "TOPICS": 40,
    "PASSAGES": 5,
    "CHARACTERS": 1000,  # of one text
    "NAME": 100,  # characters of a row's id or topic
}
# No HTML page may have these, and UTF-8 has no surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WEB = re.compile(r"https?://\S+", re.IGNORECASE)


def report_page(
    verdict: Verdict,
    gate: Gate,
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction] | None,
    links: Mapping[str, str],
) -> str:
    """The verdict as one HTML page that needs nothing else.

    Whatever comes from a model, a data set or W&B is shown as text, and cut where it is too long.

    Args:
        gate: the rules that it was weighed by.
        candidate: the version's rows; none when the evaluation did not end.
        champion: the champion's rows; None when there was nothing to compare with.
        links: where to look, in this order: a name, and a URL or anything else that says where.
    """
    page = _PAGES.get_template("page.html.jinja").render(
        verdict=verdict,
        gate=gate,
        rules=_rules(gate),
        quoted=shlex.quote(str(verdict.weighing.version)),
        links=links,
        checks=[(check, check_axis(check)) for check in verdict.checks],
        segments=segments(verdict.seconds),
        compared=champion is not None,
        **_rows(candidate, champion or ()),
    )
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)


def _rows(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> dict[str, Any]:
    topics = by_topic(candidate, champion)
    total = overall(candidate, champion)
    changed = flips(candidate, champion)
    lost = [flip for flip in changed if not flip.gained]
    shown = {flip.candidate.id for flip in lost}
    return {
        "rows": candidate,
        "topics": topics,
        "overall": total,
        "scale": means_scale([total, *topics]),
        "lost": lost,
        "gained": [flip for flip in changed if flip.gained],
        "wrong": [one for one in candidate if not one.correct and one.id not in shown],
    }


def _rules(gate: Gate) -> str:
    """The gate in the gate file's own words."""
    contents = gate.model_dump(mode="json", exclude_defaults=True)
    if gate.early_stop:
        contents["early_stop"] = gate.early_stop.model_dump()  # nobody knows its defaults by heart
    return yaml.safe_dump(contents, sort_keys=False, allow_unicode=True, width=80)


def _pages() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": number, "signed": signed, "duration": duration}
    pages.tests["web"] = lambda place: _WEB.fullmatch(place) is not None
    pages.globals |= _LIMITS
    return pages


_PAGES = _pages()
