"""The admin listener: dashboard, JSON API, health and metrics. It only reads."""
