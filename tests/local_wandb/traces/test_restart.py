"""A restarted server keeps its traces."""

from collections.abc import Callable
from pathlib import Path

import weave
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb, LocalWandbConfig
from tests.weave_clients import end

Connect = Callable[[LocalWandb, str, str], WeaveClient]


def test_a_restart_keeps_everything(tmp_path: Path, connect: Connect, project_id: str) -> None:
    config = LocalWandbConfig(data_dir=tmp_path / "server")

    @weave.op
    def answer(question: str) -> str:
        return question.upper()

    with LocalWandb(config) as server:
        client = connect(server, project_id, "before")
        dataset = weave.publish(weave.Dataset(name="questions", rows=[{"question": "why?"}]))
        op = weave.publish(answer)
        _, call = answer.call("why?")
        client.flush()
        call.feedback.add_note("right")
        client.add_cost("small-chat", 1.0, 2.0)
        end(client)
    with LocalWandb(config) as server:
        client = connect(server, project_id, "after")
        assert client.get_call(call.id).output == "WHY?"
        assert list(weave.ref(dataset.uri).get().rows) == [{"question": "why?"}]
        assert weave.ref(op.uri).get()("how?") == "HOW?"
        assert len(client.get_feedback()) == 1
        assert len(client.query_costs()) == 1
        end(client)
