"""An application that breaks in the way that its field says."""

import os
import subprocess
import sys
from typing import Any

import weave


class Misbehaving(weave.Model):
    model_name: str
    how: str

    @weave.op()
    def predict(self, question: str) -> Any:
        if self.how.startswith("says no"):
            return {"answer": "no"}
        if question == "second":
            if self.how == "exits":
                print("the index is broken", file=sys.stderr, flush=True)
                os._exit(7)
            if self.how == "raises":
                raise RuntimeError("the index is broken")
            if self.how == "hangs":
                subprocess.Popen(
                    [sys.executable, "-c", "import time; time.sleep(4321)"], start_new_session=True
                ).wait()
            if self.how == "returns an object":
                return {"answer": "yes", "index": object()}
        return {"answer": "yes", "environment": " ".join(os.environ.values())}


@weave.op()
def correct(output: dict) -> bool:
    return output["answer"] == "yes"


@weave.op()
def secrets(output: dict) -> int:
    found = output.get("environment", "")
    return sum(secret in found for secret in ("the-secret", "the-token", "redis://"))


def publish(project: str, version: str, how: str) -> tuple[str, str]:
    weave.init(project)
    rows = [{"question": "first"}, {"question": "second"}, {"question": "third"}]
    if how.startswith("says no"):
        rows = [{"question": str(number)} for number in range(40)]
    evaluation = weave.Evaluation(
        name="breaks", dataset=weave.Dataset(name="three", rows=rows), scorers=[correct, secrets]
    )
    model = Misbehaving(model_name=version, how=how)
    return weave.publish(model, "Misbehaving").uri, weave.publish(evaluation).uri
