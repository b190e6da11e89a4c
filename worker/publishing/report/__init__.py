"""The report: a verdict as one self-contained HTML page, without network access or scripts.

``page`` renders the templates. ``topics`` computes scores by topic, ``charts`` positions in the
charts, and ``figures`` formats numbers. ``folder`` writes the page to disk.
"""

from worker.publishing.report.folder import write_report
from worker.publishing.report.page import render_report

__all__ = ["render_report", "write_report"]
