"""The figures of `/metrics`, in Prometheus's format.

They are served without authentication, so they contain no secrets.
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
    """Counts deliveries, and reads the state of the bus on each request."""

    def __init__(self, bus: Bus) -> None:
        self._registry = CollectorRegistry()
        self._deliveries = Counter(
            "weighbridge_webhook_deliveries",
            "Deliveries by outcome: accepted, duplicate, ignored, or the status of the refusal.",
            ["answer"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "weighbridge_webhook_seconds",
            "From a delivery's headers to its response.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_BusCollector(bus))

    def record(self, outcome: str, seconds: float) -> None:
        """Count a delivery.

        Args:
            outcome: Its outcome.
            seconds: How long it took.
        """
        self._deliveries.labels(outcome).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """Render all figures, with the current state of the bus."""
        return generate_latest(self._registry)


class _BusCollector(Collector):
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def describe(self) -> list[Metric]:
        return []  # otherwise the registry would call collect() for the names

    def collect(self) -> Iterator[Metric]:
        try:
            found = list(self._read())
        except redis.RedisError:
            found = []
        yield _gauge(
            "redis_up",
            "Whether Redis answers; if not, the other figures of the bus are missing.",
            bool(found),
        )
        yield from found

    def _read(self) -> Iterator[Metric]:
        yield _gauge(
            "inbox_events", "Events accepted, not yet dispatched.", self._bus.inbox.count()
        )
        tasks = GaugeMetricFamily(
            "weighbridge_queue_tasks", "Tasks waiting in a queue.", labels=["queue"]
        )
        for queue in (EVENTS_QUEUE, GPU_QUEUE):
            tasks.add_metric([queue], queue_length(self._bus.client, queue))
        yield tasks
        unfinished = self._bus.ledger.count_unfinished()
        yield _gauge("weighings_unfinished", "Weighings opened, without a verdict.", unfinished)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"weighbridge_{name}", description, value)
