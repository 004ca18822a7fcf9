"""The admin listener: dashboard, JSON, health and metrics, all read from the state. Nothing is changed here."""
