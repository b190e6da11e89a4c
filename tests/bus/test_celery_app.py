"""Celery: its keys on Redis, and redelivery of unacknowledged tasks."""

from typing import cast

import redis
from celery import Celery

from bus.celery_app import DISPATCH_TASK, EVENTS_QUEUE, GPU_QUEUE, WEIGH_TASK, queue_length
from bus.connection import KEY_PREFIX


def _keys(client: redis.Redis) -> list[str]:
    return sorted(cast("list[str]", client.keys()))


def test_a_task_waits_under_the_name_of_its_queue_and_leaves_no_other_key(
    app: Celery, client: redis.Redis
) -> None:
    app.send_task(DISPATCH_TASK, args=[[]])
    app.send_task(WEIGH_TASK, args=["a weighing"])
    assert _keys(client) == [f"{KEY_PREFIX}{EVENTS_QUEUE}", f"{KEY_PREFIX}{GPU_QUEUE}"]
    assert [queue_length(client, queue) for queue in (EVENTS_QUEUE, GPU_QUEUE)] == [1, 1]


def test_an_unacknowledged_task_is_redelivered_under_its_prefix(
    app: Celery, client: redis.Redis
) -> None:
    app.send_task(DISPATCH_TASK, args=[[]])
    with app.connection_for_read() as dead, app.connection_for_read() as living:
        dead.default_channel.do_restore = False  # as one that was killed
        dead.default_channel.basic_get(EVENTS_QUEUE)
        assert _keys(client) == [f"{KEY_PREFIX}unacked", f"{KEY_PREFIX}unacked_index"]
        living.default_channel.visibility_timeout = 0
        living.default_channel.qos.restore_visible(interval=1)
    assert _keys(client) == [f"{KEY_PREFIX}{EVENTS_QUEUE}"]


def test_an_acknowledged_task_is_deleted(app: Celery, client: redis.Redis) -> None:
    app.send_task(DISPATCH_TASK, args=[[]])
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(EVENTS_QUEUE)
        connection.default_channel.basic_ack(message.delivery_tag)
    assert _keys(client) == []
