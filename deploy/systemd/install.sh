#!/bin/sh
# Installs credproxy as a systemd service, or removes it.
#
#   install.sh install BINARY   safe to repeat; keeps a configuration that is there, and
#                               upgrades a service that runs
#   install.sh remove           leaves the configuration, and a socket unit that was edited
#   install.sh purge            removes these too
#
# DESTDIR=/some/root works on that folder and leaves systemd alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
binary=$root/usr/bin/credproxy
unit=$root/etc/systemd/system/credproxy.service
config=$root/etc/credproxy/credproxy.yaml

systemd() { # only on the running system
	[ -n "$root" ] || [ ! -d /run/systemd/system ] || systemctl "$@"
}

# upgrade puts the new binary in the place of the service, whose sessions go on (docs/upgrade.md).
upgrade() {
	[ -z "$root" ] && [ -d /run/systemd/system ] && systemctl --quiet is-active credproxy.service || return 0
	status=0
	"$binary" upgrade -c "$config" || status=$?
	case $status in
	0) ;;
	3) # too old to be upgraded, or not to be found
		echo "restarting the service" >&2
		systemctl try-restart credproxy.service
		;;
	*) echo "the version before goes on; when it suits: systemctl restart credproxy" >&2 ;;
	esac
}

case ${1:-} in
install)
	[ -f "${2:-}" ] || { echo "install.sh: name the credproxy binary to install" >&2; exit 2; }
	mkdir -p "$root/usr/bin" "$root/etc/systemd/system" "$root/etc/credproxy"
	# A running binary cannot be overwritten, but replaced.
	install -m 0755 "$2" "$binary.new"
	mv -f "$binary.new" "$binary"
	install -m 0644 "$here/credproxy.service" "$unit"
	# The service's user is not known before it runs, and a configuration holds no secret.
	[ -e "$config" ] || install -m 0644 "$here/credproxy.yaml" "$config"
	systemd daemon-reload
	upgrade # a service that runs; one that does not is left alone
	echo "installed. Write $config, then: systemctl enable --now credproxy"
	;;
remove | purge)
	socket=${unit%.service}.socket # which an operator may have installed beside it
	[ ! -e "$socket" ] || systemd disable --now credproxy.socket
	[ ! -e "$unit" ] || systemd disable --now credproxy.service
	rm -f "$binary" "$unit"
	if [ "$1" = purge ] || cmp -s "$socket" "$here/credproxy.socket"; then
		rm -f "$socket"
	elif [ -e "$socket" ]; then
		echo "kept $socket: it is not as it came"
	fi
	if [ "$1" = purge ]; then
		rm -f "$config"
		rmdir "$root/etc/credproxy" 2>/dev/null || [ ! -d "$root/etc/credproxy" ] || echo "kept $root/etc/credproxy: it holds files that are not ours"
	fi
	systemd daemon-reload
	;;
*)
	sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
