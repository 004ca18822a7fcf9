"""What people and GitHub learn of deployments, as messages. Nothing is sent here, and no outcome depends on it."""
