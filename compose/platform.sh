#!/bin/sh
# The platform stack as one command: up, down, backup DIRECTORY, restore DIRECTORY.
#
# Credentials are in $PLATFORM_ENV, which `up` generates at the first start and git ignores; those of the receiver alone
# are in receiver.env beside it. Set DOCKER_HOST for another engine, PLATFORM_ENV for another file, PLATFORM_PROJECT for
# another project name.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
env=${PLATFORM_ENV:-.pinrail/platform.env}
receiver_env=$(dirname "$env")/receiver.env
receiver=pinrail-receiver
project=${PLATFORM_PROJECT:-pinrail-platform}

# What the shell has of these would replace what the file says: with receiver.env in it, the administrator.
platform() (
  unset POSTGRES_PASSWORD MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY \
    RECEIVER_PASSWORD MLFLOW_PORT
  docker compose --env-file "$env" --project-name "$project" --file "$here/platform.yaml" \
    --project-directory "$here" --progress quiet "$@"
)

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

value() {
  sed -n "s/^$1=//p" "$env"
}

start() {
  platform up --detach --build --wait --wait-timeout 300
  platform exec -T mlflow python /receiver_user.py "$receiver"
  (
    umask 077
    cat >"$receiver_env" <<ENV
MLFLOW_TRACKING_URI=http://127.0.0.1:$(value MLFLOW_PORT)
MLFLOW_TRACKING_USERNAME=$receiver
MLFLOW_TRACKING_PASSWORD=$(value RECEIVER_PASSWORD)
ENV
  )
}

case ${1:-} in
up)
  [ -e "$env" ] || make_env
  [ -n "$(value RECEIVER_PASSWORD)" ] || echo "RECEIVER_PASSWORD=$(secret)" >>"$env"
  start
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
  start
  ;;
*)
  echo "usage: $0 up | down | backup DIRECTORY | restore DIRECTORY" >&2
  exit 2
  ;;
esac
