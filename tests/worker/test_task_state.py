"""A weighing's progress as the state of its Celery task, on a real Redis."""

from collections.abc import Callable, Iterator

import pytest
import redis
from celery import Celery, Task
from celery.result import AsyncResult

from bus.celery_app import worker_app
from bus.connection import KEY_PREFIX
from rehearsal.redis_server import free_port
from schemas.settings import Settings
from schemas.weighings import Progress
from worker.task_state import TaskState

# Celery's own call of redis-py; nothing here can change it.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

MakeTask = Callable[[Celery], Task]


def _weigh() -> None:
    """What the task does is not asked here."""


@pytest.fixture
def running() -> Iterator[MakeTask]:
    """Makes an app's task that this thread runs."""
    made: list[Task] = []

    def make(app: Celery) -> Task:
        task = app.task(_weigh, name="weigh")
        task.push_request(id="the-task", hostname="gpu@here")
        made.append(task)
        return task

    yield make
    for task in made:
        task.pop_request()
        task.app.close()


def _shown(settings: Settings) -> AsyncResult:
    return AsyncResult("the-task", app=worker_app(settings))


def test_another_process_reads_step_and_detail(
    running: MakeTask, settings: Settings, client: redis.Redis
) -> None:
    show = TaskState(running(worker_app(settings)))
    assert _shown(settings).state == "PENDING"
    show(Progress(step="rebuild", detail="starting the engine"))
    assert _shown(settings).state == "PROGRESS"
    assert _shown(settings).info == {
        "step": "rebuild",
        "detail": "starting the engine",
        "done": 0,
        "total": 0,
        "metrics": {},
    }
    show(Progress(step="evaluate"))
    assert _shown(settings).info["step"] == "evaluate"


def test_a_state_expires(running: MakeTask, settings: Settings, client: redis.Redis) -> None:
    TaskState(running(worker_app(settings)))(Progress(step="rebuild"))
    (key,) = client.keys(f"{KEY_PREFIX}celery-task-meta-*")
    assert client.ttl(key) > 0


def test_the_first_and_last_of_quick_counts_are_published(
    running: MakeTask, settings: Settings, client: redis.Redis
) -> None:
    client.config_resetstat()
    show = TaskState(running(worker_app(settings)))
    for done in range(100):
        show(Progress(step="evaluate", done=done + 1, total=100))
    assert _shown(settings).info["done"] == 100
    assert client.info("commandstats")["cmdstat_setex"]["calls"] < 100


def test_a_report_does_not_fail_while_redis_is_away(running: MakeTask) -> None:
    nobody = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    show = TaskState(running(worker_app(Settings.model_validate({"CELERY_BROKER_URL": nobody}))))
    show(Progress(step="rebuild", detail="starting the engine"))
