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
# MySQL and MariaDB also get a plugin of ours, compiled from servers/awsauth,
# that stands in for RDS's own.
#
# With the argument "bench" it also fetches what the benchmark measures against:
# pgbouncer, haproxy and MySQL Router, into the folder "peers".
#
# Outside that folder it writes only /etc/pam.d/credproxy-test-*: services that
# hand a login's token to the verifier a test has started (see servers/verifier.go).
set -euo pipefail

cache=/var/cache/credproxy-test # also in servers/servers.go
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=(ca-certificates openssl iproute2 rpm systemd tzdata debian-archive-keyring gcc libc6-dev
	php-cli php-mysql python3-pymysql libdbd-mysql-perl libmariadb-java
	python3-psycopg2 libdbd-pg-perl libpostgresql-jdbc-java)
drivers=$(dirname "$0")/testdata/drivers # programs that use these, and what node needs
postgres_versions=(15 18)
mysql_flavors=(mysql mariadb)
aws_plugin_source=$(dirname "$0")/servers/awsauth/plugin.c

# Whoever has node or Java from elsewhere keeps it: Debian's may conflict with it.
wanted_packages() {
	printf '%s\n' "${packages[@]}"
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
	command -v javac >/dev/null || echo default-jdk-headless
}

missing_packages() {
	local p
	for p in $(wanted_packages); do
		[[ $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) == *" installed" ]] || echo "$p"
	done
}

complete() {
	local v
	for v in "${postgres_versions[@]}"; do
		[[ -d $cache/postgresql-$v && -d $cache/postgresql-$v-template && -f /etc/pam.d/credproxy-test-postgresql-$v ]] || return 1
	done
	for v in "${mysql_flavors[@]}"; do
		[[ -d $cache/$v && -d $cache/$v-template ]] && has_aws_plugin "$v" || return 1
	done
	[[ -f /etc/pam.d/credproxy-test-mariadb ]] || return 1
	[[ -x $cache/prometheus/usr/bin/promtool && -x $cache/pgbouncer/usr/sbin/pgbouncer && -x $cache/chromium/browser &&
		-x $cache/sysbench/usr/bin/sysbench ]] || return 1
	cmp -s "$drivers/package-lock.json" "$cache/node/package-lock.json" || return 1
	[[ -x $cache/pam/pam_script_auth && -z $(missing_packages) ]]
}

has_peers() { [[ -x $cache/peers/usr/sbin/pgbouncer && -d $cache/peers/usr/sbin/elf ]]; }

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
# script's path, so programs still find their share folder and each other. The
# clients of MySQL and MariaDB are told where their login plugins are.
wrap() {
	local root=$1 loader triplet program plugins=
	shift
	loader=$(find "$root" -path '*/lib/*-linux-gnu/ld-linux-*' | head -n 1)
	triplet=$(basename "${loader%/*}")
	[[ -d $root/usr/lib/mysql ]] && printf -v plugins 'export LIBMYSQL_PLUGIN_DIR=%s MARIADB_PLUGIN_DIR=%s\n' \
		"$root/usr/lib/mysql/plugin" "$root/usr/lib/$triplet/libmariadb3/plugin"
	for program in "$@"; do
		[[ -f $program && ! -L $program && $(head -c 4 "$program" | tr -d '\0') == $'\x7fELF' ]] || continue
		mkdir -p "${program%/*}/elf"
		mv "$program" "${program%/*}/elf/"
		printf '#!/bin/sh\n%sexec %s --argv0 "$0" --library-path %s %s "$@"\n' \
			"$plugins" "$loader" "$root/lib/$triplet:$root/usr/lib/$triplet" "${program%/*}/elf/${program##*/}" >"$program"
		chmod 755 "$program"
	done
}

# Chromium starts itself again by its own path, so wrap is not for it. It runs with
# the machine's loader and libraries; what the machine lacks, and fonts, come from here.
browser() {
	local root=$cache/chromium triplet
	[[ -x $root/browser ]] && return
	triplet=$(basename "$(echo "$root"/usr/lib/*-linux-gnu)")
	echo "<fontconfig><dir>$root/usr/share/fonts</dir><cachedir>$root/fontcache</cachedir></fontconfig>" >"$root/fonts.conf"
	printf '#!/bin/sh\nFONTCONFIG_FILE=%s LD_LIBRARY_PATH=%s exec %s "$@"\n' "$root/fonts.conf" \
		"/usr/lib/$triplet:$root/usr/lib/$triplet:$root/lib/$triplet:$root/usr/lib/$triplet/pulseaudio" \
		"$root/usr/lib/chromium/chromium-headless-shell" >"$root/browser"
	chmod 755 "$root/browser"
}

# Filling a data folder takes seconds; every test server starts from a copy of
# one that template NAME COMMAND... fills. COMMAND gets a folder to make "data"
# in, and runs unprivileged because the servers refuse to be root.
template() {
	local template=$cache/$1-template work
	shift
	[[ -d $template ]] && return
	work=$(mktemp -d)
	chown nobody "$work"
	"$@" "$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; rm -rf "$work"; return 1; }
	rm -rf "$cache/.template"
	cp -r --sparse=always "$work/data" "$cache/.template"
	chmod -R a+rX "$cache/.template" # holds no secret; whoever runs the tests copies it
	mv "$cache/.template" "$template"
	rm -rf "$work"
}

as_nobody() { setpriv --reuid=nobody --clear-groups --regid="$(id -g nobody)" "$@"; }

fill_postgres() {
	as_nobody "$cache/postgresql-$1/usr/lib/postgresql/$1/bin/initdb" -D "$2/data" --username=postgres \
		--auth=trust --locale=C --encoding=UTF8 --wal-segsize=1 --no-sync
}

# MySQL and MariaDB begin with root, who has no password and logs in through the
# socket only, and the database app.

fill_mysql() {
	local root=$cache/mysql/usr
	echo 'CREATE DATABASE app;' >"$1/init.sql"
	as_nobody "$root/sbin/mysqld" --no-defaults --initialize-insecure --init-file="$1/init.sql" --datadir="$1/data" \
		--basedir="$root" --lc-messages-dir="$root/share/mysql" --secure-file-priv= \
		--skip-log-bin --innodb-redo-log-capacity=32M --innodb-autoextend-increment=1 &&
		rm "$1"/data/{auto.cnf,{ca,server,client}*.pem} # each server's own; the RSA key pair for passwords stays
}

fill_mariadb() { # as mariadb-install-db does, without the help tables
	local root=$cache/mariadb/usr
	as_nobody mkdir "$1/data"
	{
		printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket = NULL'
		cat "$root"/share/mysql/{mysql_system_tables,mysql_performance_tables,mysql_system_tables_data,maria_add_gis_sp_bootstrap,mysql_sys_schema}.sql
		printf '%s;\n' "DELETE FROM mysql.global_priv WHERE Host <> 'localhost'" 'DELETE FROM mysql.proxies_priv' 'CREATE DATABASE app'
	} | as_nobody "$root/sbin/mariadbd" --no-defaults --bootstrap --datadir="$1/data" \
		--basedir="$root" --lc-messages-dir="$root/share/mysql" --innodb-log-file-size=8M --max-allowed-packet=8M
}

# The plugin's source lies beside it, so that a newer one is seen.
has_aws_plugin() { cmp -s "$aws_plugin_source" "$cache/$1/usr/lib/mysql/plugin/AWSAuthenticationPlugin.c"; }

aws_plugin() {
	local plugin=$cache/$1/usr/lib/mysql/plugin/AWSAuthenticationPlugin
	has_aws_plugin "$1" && return
	gcc -shared -fPIC -O2 -Wall -o "$plugin.so.new" "$aws_plugin_source"
	mv "$plugin.so.new" "$plugin.so" # a server may have the old one open
	cp "$aws_plugin_source" "$plugin.c"
}

# The drivers of node, at the versions of package-lock.json.
node_drivers() {
	cmp -s "$drivers/package-lock.json" "$cache/node/package-lock.json" && return
	rm -rf "$cache/.node" "$cache/node"
	mkdir "$cache/.node"
	cp "$drivers"/package{,-lock}.json "$cache/.node"
	npm ci --prefix "$cache/.node" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	mv "$cache/.node" "$cache/node"
}

# RDS for PostgreSQL checks IAM tokens through PAM. pam_script, unlike pam_exec,
# passes on a token longer than 512 bytes. It insists that root owns its script.
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

if complete && { [[ ${1-} != bench ]] || has_peers; }; then exit; fi
if [[ $(id -u) != 0 ]]; then exec sudo DEBIAN_MIRROR="$mirror" "$BASH" "$0" "$@"; fi

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
	template "postgresql-$v" fill_postgres "$v"
	pam_service "postgresql-$v"
done
fetch mysql sid mysql-server-core mysql-client-core
fetch mariadb bookworm mariadb-server mariadb-client libpam-script
for v in "${mysql_flavors[@]}"; do
	wrap "$cache/$v" "$cache/$v"/usr/{bin,sbin}/*
	template "$v" "fill_$v"
	aws_plugin "$v"
done
pam_service mariadb
fetch prometheus bookworm prometheus # for promtool, which checks /metrics
wrap "$cache/prometheus" "$cache/prometheus/usr/bin/promtool"
fetch pgbouncer bookworm pgbouncer # as a client that pools
wrap "$cache/pgbouncer" "$cache/pgbouncer/usr/sbin/pgbouncer"
fetch sysbench bookworm sysbench # MySQL under load while credproxy restarts
wrap "$cache/sysbench" "$cache/sysbench/usr/bin/sysbench"
fetch chromium bookworm chromium-headless-shell fonts-dejavu-core # to read the status page
browser
node_drivers
if [[ ${1-} == bench ]]; then
	fetch peers sid pgbouncer haproxy mysql-router # the newest of each, to be fair
	ln -sf "$cache"/peers/usr/lib/mysql-router/*.so* "$cache"/peers/usr/lib/*-linux-gnu/ # where wrap looks
	wrap "$cache/peers" "$cache"/peers/usr/{bin,sbin}/*
	has_peers
fi
complete
