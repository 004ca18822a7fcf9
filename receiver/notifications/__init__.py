"""Telling the outside what came of deployments, through the outbox. No outcome depends on anything here."""
