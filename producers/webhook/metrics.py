"""What `/metrics` tells, in Prometheus's format.

It is read without a token, so nothing in it is secret.
"""

from collections.abc import Iterator

import redis
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, queue_length

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # seconds


class Metrics:
    """Counts the deliveries, and looks at the bus whenever it is asked."""

    def __init__(self, bus: Bus) -> None:
        self._registry = CollectorRegistry()
        self._deliveries = Counter(
            "weighbridge_webhook_deliveries",
            "Deliveries by what became of them: accepted, duplicate, ignored, or the status of the"
            " refusal.",
            ["answer"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "weighbridge_webhook_seconds",
            "From a delivery's headers to its answer.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_BusCollector(bus))

    def answered(self, answer: str, seconds: float) -> None:
        """Count a delivery.

        Args:
            answer: what became of it.
            seconds: that it took.
        """
        self._deliveries.labels(answer).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it, with the bus as it is now."""
        return generate_latest(self._registry)


class _BusCollector(Collector):
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def describe(self) -> list[Metric]:
        return []  # else the registry would ask Redis for the names

    def collect(self) -> Iterator[Metric]:
        try:
            found = list(self._look())
        except redis.RedisError:
            found = []
        yield _gauge(
            "redis_up", "Whether Redis answers; without it the next ones are missing.", bool(found)
        )
        yield from found

    def _look(self) -> Iterator[Metric]:
        yield _gauge("inbox_events", "Accepted, not yet dispatched.", self._bus.inbox.count())
        tasks = GaugeMetricFamily("weighbridge_queue_tasks", "Tasks that wait.", labels=["queue"])
        for queue in (EVENTS_QUEUE, GPU_QUEUE):
            tasks.add_metric([queue], queue_length(self._bus.client, queue))
        yield tasks
        unfinished = self._bus.ledger.count_unfinished()
        yield _gauge("weighings_unfinished", "Opened, without a verdict.", unfinished)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"weighbridge_{name}", meaning, value)
