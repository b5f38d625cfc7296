"""What Prometheus reads of a service."""

from __future__ import annotations

from .._runtime._optional import import_optional

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        client = import_optional("prometheus_client", "serve")
        self._generate = client.generate_latest
        self.content_type = client.CONTENT_TYPE_LATEST
        self._registry = registry = client.CollectorRegistry()
        self.requests = client.Counter(
            "skxmc_requests", "Requests by route and status.", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self.seconds = client.Histogram(
            "skxmc_request_seconds", "Time from the head of a request to its response.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.documents = client.Counter(
            "skxmc_documents", "Documents that the model was asked for.", registry=registry
        )
        self.batches = client.Histogram(
            "skxmc_batch_documents", "Documents of a batch.", buckets=_SIZES, registry=registry
        )
        self.predict_seconds = client.Histogram(
            "skxmc_predict_seconds", "Time of the model for a batch.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.waiting = client.Gauge(
            "skxmc_waiting_documents", "Documents that wait for the model.", registry=registry
        )
        self.reloads = client.Counter(
            "skxmc_reloads", "Newer saves that were loaded, or could not be.", ["result"],
            registry=registry,
        )  # fmt: skip

    def render(self) -> bytes:
        """All of them, as text."""
        return self._generate(self._registry)

    def count_reload(self, worked: bool) -> None:
        """Count an attempt to load a newer save."""
        self.reloads.labels("loaded" if worked else "failed").inc()
