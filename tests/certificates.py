"""Hides the machine's certificates from the tests, and gives them back to what needs a network."""

import os
from pathlib import Path

_KEPT = "TESTS_"  # the workers of pytest-xdist inherit an environment without them


def hide_certificates() -> None:
    """Have nothing load the public certificates: each client of W&B takes 40 ms for it."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        os.environ.setdefault(f"{_KEPT}{name}", os.environ.pop(name, ""))
    os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)  # which has none


def environment_of_the_machine() -> dict[str, str]:
    """The environment as it was: a package index is reached by its certificates and variables."""
    environment = dict(os.environ)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        environment.pop(name, None)
        if value := environment.pop(f"{_KEPT}{name}", ""):
            environment[name] = value
    return environment
