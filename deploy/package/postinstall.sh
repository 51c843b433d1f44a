#!/bin/sh
# After an installation or an upgrade, by dpkg and by rpm. The new version takes the place of a service that
# runs, whose sessions go on (docs/upgrade.md). One that does not run is left alone: its configuration has to
# be written first.
set -e
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if systemctl --quiet is-active credproxy.service; then
		status=0
		/usr/bin/credproxy upgrade -c /etc/credproxy/credproxy.yaml || status=$?
		case $status in
		0) ;;
		3) # too old to be upgraded, or not to be found
			echo "credproxy: restarting the service" >&2
			systemctl try-restart credproxy.service
			;;
		*) echo "credproxy: the version before goes on; when it suits: systemctl restart credproxy" >&2 ;;
		esac
	fi
fi
