"""The report: a verdict as one HTML page that needs nothing else, no network and no script.

``page`` fills the templates; ``topics`` has the scores by topic, ``charts`` says where the marks of
each drawing lie, and ``figures`` how numbers are written. ``folder`` keeps the page.
"""

from worker.publishing.report.folder import write_report
from worker.publishing.report.page import report_page

__all__ = ["report_page", "write_report"]
