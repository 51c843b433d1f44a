#!/bin/bash
# Installs everything the integration tests need on Debian or Ubuntu. Run it as
# root, or as a user who may sudo. It is safe to repeat: when all is there it
# does nothing, needs no network and no privilege.
#
# The servers go to /var/cache/credproxy-test, one folder each, and are not
# installed on the machine: no service starts, no cluster is created, and every
# distribution tests against the same versions. Each folder holds the whole
# closure of its packages including the C library, because a server from Debian
# sid needs a newer one than the machine has. Remove a folder to fetch it anew.
#
# Outside that folder it writes only /etc/pam.d/credproxy-test-*: services that
# hand a login's token to the verifier a test has started (see servers/verifier.go).
set -euo pipefail

cache=/var/cache/credproxy-test # also in servers/servers.go
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=(ca-certificates openssl tzdata debian-archive-keyring gcc libc6-dev)
postgres_versions=(15 18)

missing_packages() {
	local p
	for p in "${packages[@]}"; do
		[[ $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) == *" installed" ]] || echo "$p"
	done
}

complete() {
	local v
	for v in "${postgres_versions[@]}"; do
		[[ -d $cache/postgresql-$v && -d $cache/postgresql-$v-template && -f /etc/pam.d/credproxy-test-postgresql-$v ]] || return 1
	done
	[[ -x $cache/pam/pam_script_auth && -z $(missing_packages) ]]
}

# fetch NAME SUITE PACKAGE... unpacks the packages and all they depend on into
# $cache/NAME. The apt state is its own; its empty dpkg status makes apt believe
# that nothing is installed, so the closure is whole.
fetch() {
	local name=$1 suite=$2 work=$cache/.fetch deb
	shift 2
	[[ -d $cache/$name ]] && return
	echo "fetching $name from Debian $suite" >&2
	rm -rf "$work"
	mkdir -p "$work"/{lists,archives}/partial "$work/root"
	: >"$work/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
	local options=(-qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
		-o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status"
		-o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives"
		-o APT::Sandbox::User=root -o Acquire::Languages=none)
	apt-get "${options[@]}" update
	apt-get "${options[@]}" --yes --download-only --no-install-recommends install "$@"
	for deb in "$work"/archives/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
	mv "$work/root" "$cache/$name" # a folder that exists is complete
	rm -rf "$work"
}

# wrap ROOT BIN... replaces each executable of the folders by a script of the
# same name that runs it with ROOT's own loader and libraries. argv[0] stays the
# script's path, so programs still find their share folder and each other.
wrap() {
	local root=$1 loader triplet program
	shift
	loader=$(find "$root" -path '*/lib/*-linux-gnu/ld-linux-*' | head -n 1)
	triplet=$(basename "${loader%/*}")
	for program in "$@"; do
		[[ -f $program && ! -L $program && $(head -c 4 "$program" | tr -d '\0') == $'\x7fELF' ]] || continue
		mkdir -p "${program%/*}/elf"
		mv "$program" "${program%/*}/elf/"
		printf '#!/bin/sh\nexec %s --argv0 "$0" --library-path %s %s "$@"\n' \
			"$loader" "$root/lib/$triplet:$root/usr/lib/$triplet" "${program%/*}/elf/${program##*/}" >"$program"
		chmod 755 "$program"
	done
}

# An initdb takes more than a second; every test server starts from a copy of
# this one. PostgreSQL refuses to run as root.
postgres_template() {
	local version=$1 template=$cache/postgresql-$1-template work
	[[ -d $template ]] && return
	work=$(mktemp -d)
	chown nobody "$work"
	setpriv --reuid=nobody --clear-groups --regid="$(id -g nobody)" \
		"$cache/postgresql-$version/usr/lib/postgresql/$version/bin/initdb" -D "$work/data" --username=postgres \
		--auth=trust --locale=C --encoding=UTF8 --wal-segsize=1 --no-sync >/dev/null
	chown -R root:root "$work/data"
	chmod -R a+rX "$work/data" # holds no secret; whoever runs the tests copies it
	mv "$work/data" "$template"
	rm -rf "$work"
}

# RDS checks IAM tokens through PAM. pam_script, unlike pam_exec, passes on a
# token longer than 512 bytes. It insists that root owns its script.
pam_script() {
	mkdir -p "$cache/pam"
	cat >"$cache/pam/pam_script_auth" <<-'SCRIPT'
		#!/bin/bash
		# Asks the token verifier of the running test; the server's environment says where it listens.
		exec 3<>"/dev/tcp/$CREDPROXY_TEST_VERIFIER" || exit 1
		printf '%s\n%s\n' "$PAM_USER" "$PAM_AUTHTOK" >&3
		read -r answer <&3
		[ "$answer" = ok ]
	SCRIPT
	chmod 755 "$cache/pam/pam_script_auth"
}

# pam_service NAME installs the PAM service credproxy-test-NAME. A module must
# match the C library of the server that loads it: hence one service a server.
pam_service() {
	local root=$cache/$1 module
	module() { find "$root" -name "pam_$1.so"; }
	cat >"/etc/pam.d/credproxy-test-$1" <<-SERVICE
		auth    required $(module script) dir=$cache/pam
		account required $(module permit)
	SERVICE
}

if complete; then exit; fi
if [[ $(id -u) != 0 ]]; then exec sudo DEBIAN_MIRROR="$mirror" "$BASH" "$0"; fi

umask 022
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends install "${missing[@]}"
fi
suite_of=([15]=bookworm [18]=sid)
pam_script
for v in "${postgres_versions[@]}"; do
	fetch "postgresql-$v" "${suite_of[v]}" "postgresql-$v" libpam-script
	wrap "$cache/postgresql-$v" "$cache/postgresql-$v/usr/lib/postgresql/$v/bin"/*
	postgres_template "$v"
	pam_service "postgresql-$v"
done
complete
