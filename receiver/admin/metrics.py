"""Prometheus metrics, counted from the state file at each scrape, so a restart resets nothing."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from receiver.adapters.sqlite.queries import Count, Durations, StateQueries
from receiver.admin.queries import AdminQueries

SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)  # of a deployment
STEP_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class StateCollector(Collector):
    """Turns records and the present status into metric families."""

    def __init__(self, records: StateQueries, queries: AdminQueries) -> None:
        self._records = records
        self._queries = queries

    def describe(self) -> Iterable[Metric]:
        """Nothing: registration must not scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read everything again."""
        yield _counter(
            "pinrail_deployments",
            "Ended deployments, by outcome.",
            ("environment", "model", "outcome"),
            self._records.deployment_counts(),
        )
        yield _counter(
            "pinrail_deliveries",
            "Stored webhook deliveries.",
            ("sender", "verdict"),
            self._records.delivery_counts(),
        )
        yield _counter(
            "pinrail_refusals",
            "Refused pins, by the check that stopped them.",
            ("environment", "model", "check"),
            self._records.refusal_counts(),
        )
        yield self._durations()
        yield _histogram(
            "pinrail_push_to_live_seconds",
            "From the delivery of a push until its commit was verified; without those that waited for a soak.",
            ("environment", "model"),
            self._records.pushes(SECONDS),
        )
        yield _histogram(
            "pinrail_step_seconds",
            "How long a deployment's steps took that succeeded, by kind.",
            ("kind",),
            self._records.steps(STEP_SECONDS),
            STEP_SECONDS,
        )
        yield from self._queue()
        yield from self._environments()
        yield from self._labels()
        yield from self._drift()
        yield from self._dropped()

    def _durations(self) -> Metric:
        return _histogram(
            "pinrail_deployment_seconds",
            "From the begin of a deployment until it was verified.",
            ("environment", "model"),
            self._records.durations(SECONDS),
        )

    def _queue(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily("pinrail_jobs", "Jobs of the queue, by state.", labels=("state",))
        for count in self._records.job_counts():
            jobs.add_metric(count.labels, count.value)
        yield jobs
        overdue = self._records.overdue_seconds()
        yield GaugeMetricFamily(
            "pinrail_job_overdue_seconds", "How long a due job has waited to be started.", overdue
        )
        unsent = self._records.unsent()
        yield GaugeMetricFamily("pinrail_outbox_unsent", "Messages not yet delivered.", unsent)
        quarantined = len(self._queries.quarantined())
        yield GaugeMetricFamily("pinrail_quarantined", "Versions in quarantine.", quarantined)

    def _environments(self) -> Iterable[Metric]:
        view = self._queries.environments()
        slot = ("environment", "model")
        versions = GaugeMetricFamily(
            "pinrail_version", "The version in each source of truth; 0: none.", labels=(*slot, "source")
        )
        states = GaugeMetricFamily("pinrail_state", "1 for the state that a slot is in.", labels=(*slot, "state"))
        in_sync = GaugeMetricFamily("pinrail_in_sync", "1 if pin, registry and server agree.", labels=slot)
        replicas = GaugeMetricFamily(
            "pinrail_replicas",
            "Model servers that are to share a slot's requests, and answer.",
            labels=(*slot, "state"),
        )
        for row in view.environments:
            names = (row.environment, row.model)
            replicas.add_metric((*names, "wanted"), row.replicas)
            replicas.add_metric((*names, "up"), row.replicas_up)
            sources = {"pin": row.pinned, "registry": row.alias_version, "server": row.serving_version}
            for source, version in sources.items():
                versions.add_metric((*names, source), version or 0)
            states.add_metric((*names, row.state), 1)
            in_sync.add_metric(names, float(row.state == "in sync" and view.problem is None))
        yield versions
        yield states
        yield in_sync
        yield replicas
        yield GaugeMetricFamily(
            "pinrail_truth_known", "1 if registry and servers could be observed.", float(view.problem is None)
        )

    def _labels(self) -> Iterable[Metric]:
        version = ("environment", "model", "version", "metric")
        families = {
            "value": GaugeMetricFamily("pinrail_realised", "A version's metric by labels.", labels=version),
            "low": GaugeMetricFamily("pinrail_realised_low", "The lower end of its 95 % interval.", labels=version),
            "high": GaugeMetricFamily("pinrail_realised_high", "The upper end of it.", labels=version),
            "labels": GaugeMetricFamily("pinrail_realised_labels", "How many labels it is of.", labels=version),
        }
        for found in self._queries.realised():
            names = (found.environment, found.model, str(found.version), found.metric)
            for field, family in families.items():
                value = getattr(found, field)
                if value is not None:
                    family.add_metric(names, value)
        yield from families.values()
        counts = GaugeMetricFamily("pinrail_labels", "Labels that are kept.", labels=("model", "state"))
        for model, found_counts in self._queries.label_counts().items():
            counts.add_metric((model, "joined"), found_counts.joined)
            counts.add_metric((model, "unknown"), found_counts.unknown)
        yield counts

    def _dropped(self) -> Iterable[Metric]:
        counts = [Count(of, count) for of, count in self._queries.dropped().items()]
        labels = ("environment", "model", "reason")
        yield _counter("pinrail_log_dropped", "Requests that model servers could not record.", labels, counts)

    def _drift(self) -> Iterable[Metric]:
        column, version = ("environment", "model", "version", "column"), ("environment", "model", "version")
        psi = GaugeMetricFamily("pinrail_drift_psi", "PSI of the last day against training, worst.", labels=column)
        ks = GaugeMetricFamily("pinrail_drift_ks", "KS of the last day against training.", labels=column)
        missing = GaugeMetricFamily("pinrail_drift_missing", "Share of rows without a value.", labels=column)
        rows = GaugeMetricFamily("pinrail_drift_rows", "Rows that were compared.", labels=version)
        answers = GaugeMetricFamily(
            "pinrail_prediction_share", "Share of each answer in the last day.", labels=(*version, "answer")
        )
        for found in self._queries.figures().drift:
            of = (found.environment, found.model, str(found.version))
            rows.add_metric(of, found.rows)
            for each in found.columns:
                psi.add_metric((*of, each.column), each.psi)
                missing.add_metric((*of, each.column), each.missing)
                if each.ks is not None:
                    ks.add_metric((*of, each.column), each.ks)
            for answer, share in found.predictions.items():
                answers.add_metric((*of, answer), share)
        yield from (psi, ks, missing, rows, answers)


class Exposition:
    """Metrics in Prometheus' text format."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def __call__(self) -> bytes:
        """The answer to a scrape."""
        return generate_latest(self._registry)


def _histogram(
    name: str, text: str, labels: Sequence[str], found: Iterable[Durations], bounds: Sequence[float] = SECONDS
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for one in found:
        counted = [(str(bound), count) for bound, count in zip(bounds, one.within, strict=True)]
        family.add_metric(one.labels, [*counted, ("+Inf", one.count)], one.seconds)
    return family


def _counter(name: str, text: str, labels: Sequence[str], counts: Iterable[Count]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for count in counts:
        family.add_metric(count.labels, count.value)
    return family
