"""The page in a real browser."""

import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

import pytest

from tests.worker.publishing.report import cases
from worker.publishing.predictions import Prediction
from worker.publishing.report import render_report

_BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_PHONE = 390  # pixels
# A frame, because a window cannot be that narrow.
_FRAME = """<!doctype html><title>?</title>
<iframe id="phone" width="{width}" height="800" style="border: 0" srcdoc="{page}"></iframe>
<script>
onload = () => {{
  const page = document.getElementById("phone").contentDocument;
  document.title = `${{page.documentElement.scrollWidth}} wide`;
  document.body.append(page.body.innerText);
}};
</script>"""

pytestmark = pytest.mark.skipif(_BROWSER is None, reason="there is no Chromium on PATH")


def _browse(folder: Path, html: str, *options: str) -> str:
    (folder / "page.html").write_text(html, encoding="utf-8")
    command = [
        str(_BROWSER),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-breakpad", f"--user-data-dir={folder / 'profile'}"),
        *options,
        (folder / "page.html").as_uri(),
    ]
    # The path of a socket in TMPDIR may have 107 characters; the test's folder is too deep.
    short = tempfile.gettempdir()
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "TMPDIR": short}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def _long(row: Prediction) -> Prediction:
    """Give a row words that are longer than a line, including right-to-left text."""
    return row.model_copy(
        update={
            "prediction": "m" * 3000,
            "topic": "W" * 90,
            "context": ("\N{ARABIC LETTER ALEF}" * 900,) * 5,
        }
    )


@pytest.mark.parametrize("long", [False, True])
def test_on_a_phone_nothing_is_wider_than_the_screen(tmp_path: Path, long: bool) -> None:
    rows = cases.candidate()
    rows = list(map(_long, rows)) if long else rows
    remark = "W" * 2000 if long else "columns.topic: area is in no row."
    page = render_report(cases.promoted(), cases.GATE, rows, cases.champion(), [remark])
    dom = _browse(tmp_path, _FRAME.format(width=_PHONE, page=escape(page)), "--dump-dom")
    assert f"<title>{_PHONE} wide</title>" in dom
    shown = dom.partition("</script>")[2]
    for words in (
        "Promoted",
        "All 6 thresholds hold.",
        "bound \N{MINUS SIGN}0.05",
        "Compared with the champion, by topic",
        "Lost: the champion was right (10)",
        "2 min 22 s",
        cases.GATE.digest,
        remark[:1000],
    ):
        assert words in shown


def test_a_printed_page_shows_the_context_that_is_collapsed_on_screen(tmp_path: Path) -> None:
    rows = cases.candidate()
    short = [row.model_copy(update={"context": ()}) for row in rows]
    long = [row.model_copy(update={"context": ("passage " * 100,) * 5}) for row in rows]
    assert _printed_pages(tmp_path, long) > _printed_pages(tmp_path, short) + 5


def _printed_pages(folder: Path, rows: list[Prediction]) -> int:
    page = render_report(cases.promoted(), cases.GATE, rows, cases.champion())
    printed = folder / "page.pdf"
    _browse(folder, page, f"--print-to-pdf={printed}")
    pdf = printed.read_bytes()
    assert pdf.startswith(b"%PDF-")
    return pdf.count(b"/Type /Page\n")
