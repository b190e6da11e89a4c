"""What Weave stores of our classes must be the same in every process, or one version becomes two.

Weave stores an op's source together with the values of the globals that it uses.
"""

import os
import subprocess
import sys

_PUBLISH = """
import sys
import weave
from application.rag import ChatModel, LLMJudge
client = weave.init(sys.argv[1])
parameters = dict(cm_temperature=0.0, cm_max_new_tokens=8, cm_quantize=False, dtype=None)
model = ChatModel(chat_model="m", inference_batch_size=1, device="auto", **parameters)
judge = LLMJudge(model="m", base_url="http://127.0.0.1:9/v1", instructions="{question}")
print(weave.publish(model, "ChatModel").digest, weave.publish(judge, "LLMJudge").digest)
client.flush()
"""


def _digests(project: str, hash_seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PUBLISH, project],
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_every_process_publishes_the_same_version(project: str) -> None:
    assert len({_digests(project, hash_seed) for hash_seed in range(1, 5)}) == 1
