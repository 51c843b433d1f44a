#!/bin/sh
# Rotates the password as a rotation does: first in the database, then in the secret. Logins in
# between wait for it.
set -eu
cd "$(dirname "$0")"
password=$(head -c 18 /dev/urandom | base64)
docker compose exec -T database psql --quiet --username=app --dbname=orders --command="ALTER USER app PASSWORD '$password'"
printf '%s\n' "$password" >secrets/password # into the same file: a container keeps the one that it mounted
echo "rotated"
