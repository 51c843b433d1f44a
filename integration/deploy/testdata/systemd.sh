#!/bin/sh
# Boots a systemd in namespaces of its own (pid, mount, ipc, uts, cgroup; the network stays
# the machine's) on this machine's files. What it writes is in memory. It knows no units but
# those in its /etc/systemd/system, and what is installed later in /usr/lib/systemd/system. It says its process id when everything is prepared, and
# ends when standard input closes, which the death of who started this does too.
set -eu

# keep starts what follows, and leaves nothing behind.
keep() {
	hierarchy=$(findmnt --first-only --noheadings --output=TARGET --types=cgroup2) || {
		echo "no cgroup2 is mounted" >&2
		exit 1
	}
	cgroup=$(mktemp -d "$hierarchy/credproxy-test-XXXXXX")
	exec 3<&0
	unshare --fork --kill-child --pid --mount --ipc --uts "$0" "$cgroup" 3<&- &
	machine=$!
	trap '' PIPE # nobody may be there to hear how it ended
	(read -r _ <&3 || kill -KILL "$machine") &
	wait "$machine" || :
	kill "$!" 2>/dev/null || :
	for _ in $(seq 100); do # the last of them may be dying yet
		! find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || exit 0
		sleep 0.05
	done
	exit 1
}

prepare() {
	mount --make-rprivate /
	mount -t proc proc /proc
	mount --bind /proc/sys /proc/sys
	for path in /proc/sys /sys /; do
		mount -o remount,bind,ro "$path"
	done
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount -t tmpfs -o mode=0755 tmpfs /run
	for path in /etc /usr; do
		mkdir -p "/run/overlay$path" "/run/work$path"
		mount -t overlay -o "lowerdir=$path,upperdir=/run/overlay$path,workdir=/run/work$path" overlay "$path"
	done
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mount -t tmpfs -o mode=1777 tmpfs /var/tmp
	mount -t tmpfs -o mode=0755 tmpfs /dev
	ln -s pts/ptmx /dev/ptmx
	for device in 'null c 1 3' 'zero c 1 5' 'full c 1 7' 'random c 1 8' 'urandom c 1 9' 'tty c 5 0'; do
		# shellcheck disable=SC2086 # four words
		(cd /dev && umask 0 && mknod $device)
	done
	mount --make-rshared / # systemd mounts credentials where services see them

	rm -rf /etc/systemd
	mkdir -p /etc/systemd/system/sysinit.target.wants
	echo 0123456789abcdef0123456789abcdef >/etc/machine-id
	# What units of ours name, and where their log goes; not what this machine starts.
	for unit in basic.target multi-user.target network-online.target shutdown.target sockets.target sysinit.target \
		systemd-journald.service systemd-journald.socket; do
		cp "/lib/systemd/system/$unit" /etc/systemd/system
	done
	rm -rf /usr/lib/systemd/system
	mkdir /usr/lib/systemd/system
	ln -s ../systemd-journald.service /etc/systemd/system/sysinit.target.wants
	printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\n' >/etc/systemd/journald.conf
}

case $# in
0) keep ;;
1) # in all namespaces but the last, which shows the cgroup that its maker is in
	echo 0 >"$1/cgroup.procs"
	read -r pid _ </proc/self/stat # as it is outside
	exec unshare --cgroup "$0" "$1" "$pid"
	;;
2)
	prepare
	echo "$2"
	exec env -i container=credproxy-test PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system:/usr/lib/systemd/system \
		SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nowhere \
		/lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
	;;
esac
