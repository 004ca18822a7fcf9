#!/bin/sh
# Start MLflow's server. Credentials come from the environment and go into files that only this container sees.
set -eu
umask 077
database="postgresql+psycopg2://mlflow:${POSTGRES_PASSWORD:?}@postgres:5432"
cat >/tmp/auth.ini <<INI
[mlflow]
default_permission = READ
database_uri = $database/mlflow_auth
admin_username = ${MLFLOW_ADMIN_USERNAME:?}
admin_password = ${MLFLOW_ADMIN_PASSWORD:?}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini
export MLFLOW_BACKEND_STORE_URI="$database/mlflow"
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 2 \
  --artifacts-destination /artifacts --serve-artifacts --default-artifact-root mlflow-artifacts:/
