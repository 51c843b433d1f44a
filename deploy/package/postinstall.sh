#!/bin/sh
# After an installation or an upgrade, by dpkg and by rpm. A service that runs is restarted with
# the new binary. One that does not is left alone: its configuration has to be written first.
set -e
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart credproxy.service
fi
