# SPDX-License-Identifier: Apache-2.0
"""What a daemon shows over HTTP: its health, and Prometheus' text format by prometheus_client.

That is an extra, and only loaded when it is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from sriov_agent import web
from sriov_agent.core.metrics import Family, Histogram
from sriov_agent.exceptions import ConfigError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def observed(
    address: str,
    port: int | None,
    families: Callable[[], Iterable[Family]],
    unhealthy: Callable[[], str],
    more: Mapping[str, Callable[[], web.Page]] | None = None,
) -> web.Web | None:
    """The listener of ``[metrics]``, not started yet; ``None`` where ``port`` is.

    :param unhealthy: why the daemon does not do its work, "" if it does
    :param more: what else is served, by path
    :raises ConfigError: if prometheus_client is not installed
    """
    if not port:
        return None
    text = exposition(families)
    pages = {
        "/metrics": lambda: web.Page(text(), CONTENT_TYPE),
        "/health": lambda: web.health(unhealthy()),
    }
    return web.Web(address, port, {**pages, **(more or {})})


def exposition(families: Callable[[], Iterable[Family]]) -> Callable[[], bytes]:
    """A function that returns the text for what ``families`` returns by then.

    :raises ConfigError: if prometheus_client is not installed
    """
    try:
        from prometheus_client import CollectorRegistry, core, generate_latest  # noqa: PLC0415
        from prometheus_client.registry import Collector  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "[metrics] port needs prometheus_client: pip install 'sriov-agent[metrics]'"
        ) from error

    class _Collector(Collector):
        def collect(self) -> Iterator[core.Metric]:
            return (metric(family) for family in families())

    def metric(family: Family) -> core.Metric:
        labels = family.labels
        if family.kind == "histogram":
            histogram = core.HistogramMetricFamily(family.name, family.help, labels=labels)
            for values, value in family.samples.items():
                if isinstance(value, Histogram):
                    buckets = [(_limit(limit), float(count)) for limit, count in value.buckets]
                    histogram.add_metric(values, buckets, value.total)
            return histogram
        kind = core.CounterMetricFamily if family.kind == "counter" else core.GaugeMetricFamily
        found = kind(family.name, family.help, labels=labels)
        for values, value in family.samples.items():
            if not isinstance(value, Histogram):
                found.add_metric(values, value)
        return found

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return lambda: generate_latest(registry)


def _limit(limit: float) -> str:
    return "+Inf" if limit == float("inf") else str(limit)
