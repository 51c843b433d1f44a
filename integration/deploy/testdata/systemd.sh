#!/bin/sh
# Becomes systemd, as the first process of namespaces of its own (pid, mount, ipc, uts,
# cgroup; the network stays the machine's), on this machine's files. What it writes is in
# memory and ends with it. It knows no units but those in its /etc/systemd/system.
set -eu
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
mkdir /dev/shm /dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
for device in 'null c 1 3' 'zero c 1 5' 'full c 1 7' 'random c 1 8' 'urandom c 1 9' 'tty c 5 0'; do
	# shellcheck disable=SC2086 # four words
	(cd /dev && umask 0 && mknod $device)
done

rm -rf /etc/systemd
mkdir -p /etc/systemd/system
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
# What units of ours name, and where their log goes; not what this machine starts with it.
for unit in basic.target multi-user.target network-online.target shutdown.target sockets.target sysinit.target \
	systemd-journald.service systemd-journald.socket; do
	cp "/lib/systemd/system/$unit" /etc/systemd/system
done
mkdir /etc/systemd/system/sysinit.target.wants
ln -s ../systemd-journald.socket ../systemd-journald.service /etc/systemd/system/sysinit.target.wants
printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\n' >/etc/systemd/journald.conf
mount --make-rshared / # as systemd itself does on a machine; LoadCredential rests on it
exec env -i container=credproxy-test PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system \
	SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nowhere \
	/lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no
