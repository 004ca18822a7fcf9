"""The state file: queue, deliveries, journal, outbox and their queries. The only place that knows SQL."""
