#!/bin/sh
# The platform stack as one command: up, down, backup DIRECTORY, restore DIRECTORY.
#
# Credentials are in $PLATFORM_ENV, which `up` generates at the first start and git ignores. Set DOCKER_HOST for another
# engine, PLATFORM_ENV for another file, PLATFORM_PROJECT for another project name.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
env=${PLATFORM_ENV:-.pinrail/platform.env}
project=${PLATFORM_PROJECT:-pinrail-platform}

platform() {
  docker compose --env-file "$env" --project-name "$project" --file "$here/platform.yaml" \
    --project-directory "$here" --progress quiet "$@"
}

in_postgres() {
  # shellcheck disable=SC2016 # expanded in the container
  platform exec -T postgres sh -c 'PGPASSWORD=$POSTGRES_PASSWORD PGUSER=mlflow PGHOST=127.0.0.1 exec "$@"' sh "$@"
}

secret() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

make_env() {
  (umask 077 && mkdir -p "$(dirname "$env")")
  (
    umask 077
    cat >"$env" <<ENV
POSTGRES_PASSWORD=$(secret)
MLFLOW_TRACKING_USERNAME=admin
MLFLOW_TRACKING_PASSWORD=$(secret)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret)
MLFLOW_PORT=${MLFLOW_PORT:-5000}
ENV
  )
}

case ${1:-} in
up)
  [ -e "$env" ] || make_env
  platform up --detach --build --wait --wait-timeout 300
  ;;
down) # the data stays, in volumes
  platform down
  ;;
backup)
  # Databases first: an artifact is stored before its version, so the later copy has every artifact they refer to.
  mkdir -p "${2:?backup needs a directory}"
  for database in mlflow mlflow_auth; do
    in_postgres pg_dump -Fc "$database" >"$2/$database.dump"
  done
  platform exec -T mlflow tar -C /artifacts -c . >"$2/artifacts.tar"
  ;;
restore) # into a platform without data
  : "${2:?restore needs a directory}"
  platform up --detach --wait postgres
  platform up users
  for database in mlflow mlflow_auth; do
    in_postgres pg_restore --exit-on-error -d "$database" <"$2/$database.dump"
  done
  platform run --rm -T --no-deps --entrypoint tar mlflow -C /artifacts -x <"$2/artifacts.tar"
  platform up --detach --build --wait --wait-timeout 300
  ;;
*)
  echo "usage: $0 up | down | backup DIRECTORY | restore DIRECTORY" >&2
  exit 2
  ;;
esac
