"""MLflow as training and evaluation use it: a client with clear errors, and versions with evidence."""
