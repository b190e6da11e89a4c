"""Renders the page of a verdict."""

import re
import shlex
from collections.abc import Sequence
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

# These keep a page readable, and below a few megabytes, for any answers.
_LIMITS = {
    "ROWS": 30,  # in each list
    "TOPICS": 40,
    "PASSAGES": 5,
    "CHARACTERS": 1000,  # of one text
    "NAME": 100,  # characters of a row's id or topic
}
# HTML does not allow these characters, and UTF-8 cannot encode surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WEB = re.compile(r"https?://\S+", re.IGNORECASE)


def render_report(
    verdict: Verdict,
    gate: Gate,
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction] | None,
    remarks: Sequence[str] = (),
) -> str:
    """Render the verdict as one self-contained HTML page.

    Text from a model, a dataset or W&B is escaped, and cut if it is too long.

    Args:
        gate: The gate that the version was weighed under.
        candidate: The version's predictions; empty if the evaluation did not end.
        champion: The champion's predictions; None if there was no comparison.
        remarks: Sentences on how the predictions were read.
    """
    page = _PAGES.get_template("page.html.jinja").render(
        verdict=verdict,
        gate=gate,
        rules=_rules(gate),
        quoted_version=shlex.quote(str(verdict.weighing.version)),
        checks=[(check, check_axis(check)) for check in verdict.checks],
        segments=segments(verdict.seconds),
        compared=champion is not None,
        remarks=remarks,
        **_rows(candidate, champion or ()),
    )
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)


def _rows(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> dict[str, Any]:
    topics = by_topic(candidate, champion)
    total = overall(candidate, champion)
    changed = flips(candidate, champion)
    lost = [flip for flip in changed if not flip.gained]
    lost_ids = {flip.candidate.id for flip in lost}
    return {
        "rows": candidate,
        "topics": topics,
        "overall": total,
        "scale": means_scale([total, *topics]),
        "lost": lost,
        "gained": [flip for flip in changed if flip.gained],
        "wrong": [one for one in candidate if not one.correct and one.id not in lost_ids],
    }


def _rules(gate: Gate) -> str:
    """Return the gate as it would stand in a gate file."""
    contents = gate.model_dump(mode="json", exclude_defaults=True)
    if gate.early_stop:
        contents["early_stop"] = gate.early_stop.model_dump()  # its defaults, too
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
    pages.tests["web"] = lambda address: _WEB.fullmatch(address) is not None
    pages.globals |= _LIMITS
    return pages


_PAGES = _pages()
