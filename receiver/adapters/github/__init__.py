"""GitHub's REST API: pull requests, statuses, deployments and webhooks. Every write is safe to repeat."""
