#!/bin/sh
# Before a removal: "remove" of dpkg, 0 of rpm. An upgrade ("upgrade", 1) is none.
set -e
case ${1:-} in remove | 0) ;; *) exit 0 ;; esac
[ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ] || exit 0
for unit in credproxy.socket credproxy.service; do # the socket is the operator's, and may not be there
	[ -z "$(systemctl list-unit-files --no-legend "$unit")" ] || systemctl disable --now "$unit"
done
