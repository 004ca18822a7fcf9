"""MLflow's registry: every call has a deadline, and vendor errors become ours."""
