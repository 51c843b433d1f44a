package config_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// good is a source of credentials, for rows about something else.
const good = "credentials: {file: {path: /x}}"

func db(lines ...string) string {
	return "databases:\n  - name: a\n    " + strings.Join(append(lines, good), "\n    ") + "\n"
}

func TestParseErrors(t *testing.T) {
	long := strings.Repeat("x", 104)
	tests := []struct {
		name string
		yaml string
		want string // every line of the error, without "f.yaml:"
	}{
		// The file as a whole.
		{"empty file", "", "1:1: the file is empty; write at least one entry under databases"},
		{"only a comment", "# nothing\n", "1:1: the file is empty; write at least one entry under databases"},
		{"nothing but null", "--- ~\n", "1:1: the file is empty; write at least one entry under databases"},
		{"nothing but an alias", "*a\n", "1:1: no anchor &a before this alias; define it or write the value out"},
		{"no databases", "log: {level: warn}\n", "1:1: databases: no database; write at least one entry with name and credentials"},
		{"databases commented out", "log:\n\ndatabases:\n", "3:1: databases: no database; write at least one entry with name and credentials"},
		{"not a mapping", "- a\n", "1:1: wanted a section with keys, found a list; write one or more of: admin, log, metrics, tracing, shutdown, discover, databases"},
		{"two documents", db() + "---\n" + db(), "4:1: a second YAML document; keep one document in a file"},
		{"not YAML", "databases: [a\n", "1:14: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence (from 1:12); check indentation, quotes and brackets"},
		{"tab", "databases:\n\t- name: a\n", "2:1: not valid YAML: a tab indents the line; check indentation, quotes and brackets"},
		{"TOML", "# A comment.\n\n[[databases]]\nname = 'a'\n", "3:1: this looks like TOML or INI; write YAML: key: value, and - before each entry of a list"},
		{"INI", "[admin]\nlisten = :9090\n", "1:1: this looks like TOML or INI; write YAML: key: value, and - before each entry of a list"},
		{"properties", "; a comment\nadmin.listen = :9090\n", "2:1: this looks like TOML or INI; write YAML: key: value, and - before each entry of a list"},
		{"a text", "credproxy\n", "1:1: wanted a section with keys, found a string; write one or more of: admin, log, metrics, tracing, shutdown, discover, databases"},
		{"not UTF-8", "log:\n  level: \xff\n", "2:10: not UTF-8; save the file as UTF-8"},
		{"NUL", "log:\n  level: a\x00b\n", "2:11: control character U+0000; remove it"},
		{"too large", strings.Repeat("#\n", 1<<19+1), "1:1: the file is larger than 1 MiB; split it over several credproxy processes"},
		{"deep brackets", "log: " + strings.Repeat("[", 4000), "1:38: nested deeper than 32 levels; the schema needs fewer"},
		{"deep braces", "log: " + strings.Repeat("{a: ", 1000), "1:134: nested deeper than 32 levels; the schema needs fewer"},
		{"deep dashes", strings.Repeat("- ", 2000), "1:65: nested deeper than 32 levels; the schema needs fewer"},
		{"wide mapping", strings.Repeat("a: 1\n", 30_000), "1001:1: more than 1000 keys in one mapping; remove some"},
		{"directive", "%YAML 2.0\n---\nlog: {}\n", "1:1: not valid YAML: found incompatible YAML document; check indentation, quotes and brackets"},
		{"local tag", db("host: !Ref x"), "3:11: databases[0].host: the tag !Ref does not fit here; remove it"},
		{"tag of a list on a section", db("tls: !!seq {mode: disable}"), "3:10: databases[0].tls: the tag !!seq does not fit here; remove it"},
		{"tag of a number on a string", db("host: !!int 5"), "3:11: databases[0].host: wanted a string, found a number; put it in quotes"},
		{"tag on a key", db("!x host: a"), "3:5: databases[0]: the tag !x does not fit here; remove it"},
		{"merged text", db("limits: {<<: x}"), "3:18: databases[0].limits: wanted a section to merge, found a string; write an alias such as *name"},
		{"merged with a mistake", db("limits: {<<: {port: 1}}"), `3:19: databases[0].limits.port: unknown key; the nearest valid key is "dial_timeout"`},
		{"merged into itself", db("limits: &l {<<: *l}"), "3:13: databases[0].limits: nested deeper than 32 levels; the schema needs fewer"},
		{"undefined alias", db("limits: *l"), "3:13: databases[0].limits: no anchor &l before this alias; define it or write the value out"},
		{"alias before its anchor", db("host: *h", "database: &h x"), "3:11: databases[0].host: no anchor &h before this alias; define it or write the value out"},
		{"anchor twice", db("host: &h x", "database: &h x"), "4:15: anchor \"h\" is defined twice; use another name"},

		// Keys.
		{"unknown key", db("lisen: 127.0.0.1:1"), `3:5: databases[0].lisen: unknown key; the nearest valid key is "listen"`},
		{"unknown key at the top", "database: []\n" + db(), `1:1: database: unknown key; the nearest valid key is "databases"`},
		{"key in the wrong case", db("tls: {CA_File: x}"), `3:11: databases[0].tls.CA_File: unknown key; the nearest valid key is "ca_file"`},
		{"key that is not a name", db("limits: {1: 2}"), "3:14: databases[0].limits: wanted the name of a key, found a number; valid here: max_connections, login_timeout, lookup_timeout, dial_timeout, server_timeout"},
		{"key with a line break", db(`limits: {"a\nb": 2}`), `3:14: databases[0].limits."a\nb": unknown key; the nearest valid key is "dial_timeout"`},
		{"duplicate key", db("host: a", "host: b"), "4:5: databases[0].host: this key is already at 3:5; remove one of them"},
		{"line count under CRLF", db("host: a # x\r", "host: b\r"), "4:5: databases[0].host: this key is already at 3:5; remove one of them"},
		{"column in characters", db("tls: {server_name: 'ä', mode: x}"), `3:24: databases[0].tls.server_name: "ä" is not a host name or address; write the name in the server's certificate` + "\n" +
			`3:35: databases[0].tls.mode: "x" is not valid here; write verify-full, verify-ca, require or disable`},

		// Types.
		{"number for a string", db("database: 1"), "3:15: databases[0].database: wanted a string, found a number; put it in quotes"},
		{"nothing for a string", db("host:"), `3:10: databases[0].host: wanted a string, found nothing; write "" or remove the key`},
		{"list for a string", db("host: [a]"), "3:11: databases[0].host: wanted a string, found a list"},
		{"string for a number", db("port: five"), "3:11: databases[0].port: wanted a whole number, found a string"},
		{"number in quotes", db(`port: "5432"`), "3:11: databases[0].port: wanted a whole number, found a string; remove the quotes"},
		{"octal", db("port: 0123"), "3:11: databases[0].port: wanted a whole number in plain decimal; write it without prefix, sign or underscore"},
		{"fraction", db("port: 1.5"), "3:11: databases[0].port: wanted a whole number, found a number"},
		{"yes for true", db("access: {allow_remote: yes}"), "3:28: databases[0].access.allow_remote: wanted true or false, found a string"},
		{"string for a section", db("tls: disable"), "3:10: databases[0].tls: wanted a section with keys, found a string; write one or more of: mode, ca_file, server_name, client_cert_file, client_key_file, allow_unverified_password"},
		{"section for databases", "databases: {name: a}\n", "1:12: databases: wanted a list, found a section with keys; start each entry with \"- \""},
		{"section for a list of strings", db("listen: {a: b}"), "3:13: databases[0].listen: wanted a string, found a section with keys; put a text with a colon in quotes"},
		{"number in a list of strings", db("listen: [5432]"), "3:14: databases[0].listen[0]: wanted a string, found a number; put it in quotes"},
		{"long list", db("access: {databases: [" + strings.Repeat("a,", 1001) + "]}"), "3:25: databases[0].access.databases: 1001 entries; the most is 1000"},
		{"many databases", "databases:\n" + strings.Repeat("- name: a\n", 1001), "2:1: databases: 1001 entries; the most is 1000"},
		{"long string", db("host: >-", "  "+strings.Repeat("a", 4000), "  "+strings.Repeat("a", 4000)), "3:11: databases[0].host: longer than 4096 bytes; shorten it"},
		{"control character", db(`database: "a\0b"`), "3:15: databases[0].database: holds the unprintable character U+0000; remove it"},
		{"duration without unit", "shutdown: {drain_timeout: 30}\n" + db(), "1:27: shutdown.drain_timeout: wanted a duration, found a number without a unit; write one such as 90s, 5m or 1h"},
		{"bad duration", "shutdown: {drain_timeout: 1 hour}\n" + db(), "1:27: shutdown.drain_timeout: not a duration; write one such as 90s, 5m or 1h"},
		{"duration of the wrong type", "shutdown: {drain_timeout: [1s]}\n" + db(), "1:27: shutdown.drain_timeout: wanted a duration, found a list; write one such as 90s, 5m or 1h"},

		// The process.
		{"negative duration", "shutdown: {min_delay: -1s}\n" + db(), "1:23: shutdown.min_delay: -1s is negative; write a duration of 0s or more"},
		{"log level", "log: {level: loud}\n" + db(), `1:14: log.level: "loud" is not valid here; write debug, info, warn or error`},
		{"log format", "log: {format: xml}\n" + db(), `1:15: log.format: "xml" is not valid here; write json or console`},
		{"admin listener", "admin: {listen: nine}\n" + db(), `1:17: admin.listen: "nine" is not host:port; write one such as 127.0.0.1:5432, or unix:/path`},

		// A database.
		{"no name", "databases:\n  - " + good + "\n", "2:5: databases[0].name: missing; write a short name for logs and metrics"},
		{"name", "databases:\n  - name: a b\n    " + good + "\n", "2:11: databases[0].name: not a usable name; write 1 to 64 letters, digits, dots, underscores or hyphens"},
		{"name twice", db() + "  - {name: a, " + good + "}\n", `4:12: databases[1].name: "a" is already the name of databases[0]; write another`},
		{"engine", db("engine: postgresql"), `3:13: databases[0].engine: "postgresql" is not valid here; write postgres, mysql or mariadb`},
		{"host with a port", db("host: db.example:5432"), `3:11: databases[0].host: "db.example:5432" is not a host name or address; write it alone, the port goes under port`},
		{"port too high", db("port: 65536"), "3:11: databases[0].port: 65536 is not a port; write a number from 1 to 65535"},
		{"port zero", db("port: 0"), "3:11: databases[0].port: 0 is not a port; write a number from 1 to 65535"},
		{"port negative", db("port: -1"), "3:11: databases[0].port: -1 is not a port; write a number from 1 to 65535"},
		{"port beyond 64 bits", db("port: 18446744073709551616"), "3:11: databases[0].port: wanted a whole number, found a number"},
		{"role on MySQL", db("engine: mysql", "session: {role: r}"), "4:21: databases[0].session.role: mysql has no SET ROLE at login; remove it, or use it with engine postgres"},
		{"long role", db("session: {role: " + strings.Repeat("r", 129) + "}"), "3:21: databases[0].session.role: longer than 128 bytes; no database has such a name"},

		// Failover.
		{"role", db("role: primary"), `3:11: databases[0].role: "primary" is not valid here; write any, writer or reader`},
		{"hosts without a role", db("hosts: [b]"), "3:5: databases[0].hosts: does nothing with role any, where no server is asked what it is; set role to writer or reader, or remove it"},
		{"failover without a role", db("failover: {drain: 1s}"), "3:23: databases[0].failover.drain: does nothing with role any, where no server is asked what it is; set role to writer or reader, or remove it"},
		{"lag of a writer", db("role: writer", "failover: {max_lag: 1s}"), "4:25: databases[0].failover.max_lag: is for role reader; remove it"},
		{"role with DSQL", "databases:\n  - {name: a, role: writer, host: x.dsql.eu-west-1.on.aws, credentials: {dsql: {user: app}}}\n", "2:21: databases[0].role: a cluster of Aurora DSQL has neither writers nor readers; remove it"},
		{"not a host", db("role: writer", "hosts: [b, 'c:0']"), `4:16: databases[0].hosts[1]: "c:0" is neither a host nor host:port; write one such as db2.example.com or db2.example.com:5432`},
		{"many hosts", db("role: writer", "hosts: ["+strings.Repeat("a, ", 17)+"]"), "4:5: databases[0].hosts: 17 entries; the most is 16"},
		{"monitor", db("role: writer", "failover: {monitor: 10ms}"), "4:25: databases[0].failover.monitor: 10ms is out of range; write a duration from 100ms to 1m0s"},
		{"fallback", db("role: reader", "failover: {reader_fallback: any}"), `4:33: databases[0].failover.reader_fallback: "any" is not valid here; write none or writer`},

		// Listeners.
		{"not host:port", db("listen: localhost"), `3:13: databases[0].listen: "localhost" is not host:port; write one such as 127.0.0.1:5432, or unix:/path`},
		{"listener's port", db("listen: 127.0.0.1:65536"), `3:13: databases[0].listen: "65536" is not a port; write a number from 0 to 65535`},
		{"listener's host", db(`listen: "*:5432"`), `3:13: databases[0].listen: "*" is not a host; write an address such as 127.0.0.1, or nothing for all interfaces`},
		{"no listener", db("listen: []"), "3:5: databases[0].listen: empty; write a listener, or remove the key for loopback on the engine's port"},
		{"relative socket", db("listen: unix:run/x"), "3:13: databases[0].listen: the path of a unix socket must be absolute; write unix:/run/credproxy/name"},
		{"long socket", db("listen: [127.0.0.1:0, unix:/" + long[1:] + "]"), "3:27: databases[0].listen[1]: the path of a unix socket has 104 bytes, systems take 103; use a shorter directory"},
		{"listener twice", db("listen: [127.0.0.1:5432, 'localhost:5432']"), `3:30: databases[0].listen[1]: "localhost:5432" is already taken by databases[0].listen[0]; use another port or path`},
		{"localhost's other address", db("listen: ['localhost:5432', '[::1]:5432']"), `3:32: databases[0].listen[1]: "[::1]:5432" is already taken by databases[0].listen[0]; use another port or path`},
		{"listener in two databases", db("listen: 127.0.0.1:5432") + "  - name: b\n    listen: [127.0.0.1:5432]\n    " + good + "\n",
			`6:14: databases[1].listen[0]: "127.0.0.1:5432" is already taken by databases[0].listen; use another port or path`},
		{"listener under a wildcard", db("listen: [127.0.0.1:5432, ':5432']", "access: {allow_remote: true}"), `3:30: databases[0].listen[1]: ":5432" is already taken by databases[0].listen[0]; use another port or path`},
		{"listener on admin's", db("listen: 127.0.0.1:9090"), `3:13: databases[0].listen: "127.0.0.1:9090" is already taken by admin.listen; use another port or path`},
		{"socket twice", db("listen: [unix:/run/a, unix:/run/./a]"), `3:27: databases[0].listen[1]: "unix:/run/./a" is already taken by databases[0].listen[0]; use another port or path`},
		{"open listener", db("listen: 0.0.0.0:5432"), `3:13: databases[0].listen: "0.0.0.0:5432" is open to other machines; set client_tls.client_ca_file so that clients must show a certificate, or write access.allow_remote: true`},
		{"open listener with uids", db("listen: 0.0.0.0:5432", "access: {allow_remote: true, uids: 7}"), `3:13: databases[0].listen: "0.0.0.0:5432" is open to other machines, where access.uids cannot be checked; listen on loopback or a unix socket, or remove access.uids`},

		// TLS.
		{"tls mode", db("tls: {mode: full}"), `3:17: databases[0].tls.mode: "full" is not valid here; write verify-full, verify-ca, require or disable`},
		{"missing file", db("tls: {ca_file: testdata/absent.pem}"), `3:20: databases[0].tls.ca_file: no such file: "testdata/absent.pem"; write the path of a PEM file`},
		{"directory", db("tls: {ca_file: testdata}"), `3:20: databases[0].tls.ca_file: "testdata" is a directory; write the path of a PEM file`},
		{"certificate without key", db("tls: {client_cert_file: testdata/present.pem}"), "3:29: databases[0].tls.client_cert_file: needs client_key_file beside it; set both or neither"},
		{"key without certificate", db("client_tls: {key_file: testdata/present.pem}"), "3:28: databases[0].client_tls.key_file: needs cert_file beside it; set both or neither"},
		{"client CA without certificate", db("client_tls: {client_ca_file: testdata/present.pem}"), "3:34: databases[0].client_tls.client_ca_file: needs cert_file and key_file beside it; TLS from clients starts with credproxy's own certificate"},
		{"verify-ca without a CA", db("tls: {mode: verify-ca}"), "3:17: databases[0].tls.mode: verify-ca without ca_file would take any certificate of any public authority; set ca_file, or use verify-full"},
		{"word that is not needed", db("tls: {allow_unverified_password: true}"), "3:38: databases[0].tls.allow_unverified_password: mode verify-full verifies the server, which may have the password then; remove it"},
		{"word for postgres", db("tls: {mode: require, allow_unverified_password: true}", "engine: postgres"), "3:53: databases[0].tls.allow_unverified_password: postgres asks for no password in that way; remove it"},
		{"CA that is not used", db("tls: {mode: require, ca_file: testdata/present.pem}"), "3:35: databases[0].tls.ca_file: mode require verifies nothing and would ignore it; use mode verify-full or verify-ca, or remove it"},

		// The rest of a database.
		{"refresh", db("rotation: {refresh: 0}"), "3:25: databases[0].rotation.refresh: 0s is too short; write a duration above 0s"},
		{"max_stale", db("rotation: {max_stale: 10m}"), "3:27: databases[0].rotation.max_stale: 10m0s is shorter than rotation.refresh (1h0m0s), so the credential would be out of date between two refreshes; write at least that"},
		{"grace", db("rotation: {grace: -90s}"), "3:23: databases[0].rotation.grace: -1m30s is negative; write a duration of 0s or more"},
		{"queue", db("rotation: {events: {sqs_queue_url: arn:aws:sqs}}"), "3:40: databases[0].rotation.events.sqs_queue_url: the ARN of a queue, not its URL; write one such as https://sqs.eu-west-1.amazonaws.com/123456789012/rotations\n" +
			"3:40: databases[0].rotation.events.sqs_queue_url: only secrets_manager credentials have events; remove it"},
		{"write table", db("probe: {write_table: a;b}"), `3:26: databases[0].probe.write_table: "a;b" is not a table; write table or schema.table, of letters, digits and underscores`},
		{"max_connections", db("limits: {max_connections: 0}"), "3:31: databases[0].limits.max_connections: 0 is out of range; write a number from 1 to 1000000"},
		{"no time for the look-up", db("limits: {lookup_timeout: 0s}"), "3:30: databases[0].limits.lookup_timeout: 0s is too short; write a duration above 0s"},
		{"uid", db("access: {uids: [1000, -1]}"), `3:27: databases[0].access.uids[1]: "-1" is neither a user id nor a user name; write one such as 1000 or app`},
		{"no user's uid", db("access: {uids: 4294967295}"), `3:20: databases[0].access.uids: "4294967295" is neither a user id nor a user name; write one such as 1000 or app`},
		{"replication everywhere", db("access: {replication: true}"), "3:27: databases[0].access.replication: does nothing without databases, where nothing is refused; remove it"},
		{"replication of MySQL", db("engine: mysql", "access: {databases: a, replication: true}"), "4:41: databases[0].access.replication: mysql has no such thing; remove it, or use it with engine postgres"},
		{"empty database", db("access: {databases: ['']}"), "3:26: databases[0].access.databases[0]: empty; write the name of a database, or remove the entry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantErrors(t, tt.yaml, tt.want) })
	}
}

func TestCredentialErrors(t *testing.T) {
	const at = "databases[0].credentials"
	tests := []struct {
		name string
		yaml string // what follows "credentials: "
		want string
	}{
		{"none", "{}", "1:23: " + at + ": no credential source; write one of secrets_manager, iam, dsql, file or env"},
		{"two", "{file: {path: x}, env: {username: U, password: P}}", "1:23: " + at + ": 2 credential sources: file, env; keep one"},
		{"misspelt", "{secret_manager: {}}", "1:37: " + at + `.secret_manager: unknown key; the nearest valid key is "secrets_manager"`},
		{"file without path", "{file: }", "1:37: " + at + ".file.path: missing; write the path of a JSON file, or of a directory with username and password"},
		{"secret without id", "{secrets_manager: {}}", "1:37: " + at + ".secrets_manager.secret_id: missing; write the ARN or the name of a secret"},
		{"ARN", "{secrets_manager: {secret_id: 'arn:aws:s3:::x'}}", "1:66: " + at + ".secrets_manager.secret_id: not the ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"},
		{"secret's name", "{secrets_manager: {secret_id: a b}}", "1:66: " + at + ".secrets_manager.secret_id: not the name of a secret; names have up to 512 letters, digits and /_+=.@!-"},
		{"region", "{secrets_manager: {secret_id: a, region: Ireland}}", "1:77: " + at + ".secrets_manager.region: not an AWS region; write one such as eu-west-1"},
		{"two regions", "{secrets_manager: {secret_id: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf', region: eu-west-2}}",
			"1:139: " + at + ".secrets_manager.region: differs from the region in secret_id; remove it"},
		{"pointer", "{secrets_manager: {secret_id: a, keys: {password: pw}}}", "1:86: " + at + ".secrets_manager.keys.password: not a JSON pointer; write one such as /orders/password, with ~1 for a slash and ~0 for a tilde in a key"},
		{"pointer's escape", "{secrets_manager: {secret_id: a, keys: {username: /a~2}}}", "1:86: " + at + ".secrets_manager.keys.username: not a JSON pointer; write one such as /orders/password, with ~1 for a slash and ~0 for a tilde in a key"},
		{"role", "{secrets_manager: {secret_id: a, assume_role: {role_arn: admin}}}", "1:93: " + at + ".secrets_manager.assume_role.role_arn: not the ARN of an IAM role; write arn:aws:iam::ACCOUNT:role/NAME"},
		{"external id alone", "{secrets_manager: {secret_id: a, assume_role: {external_id: ab}}}", "1:96: " + at + ".secrets_manager.assume_role.external_id: does nothing without role_arn; set role_arn, or remove it"},
		{"session name", "{secrets_manager: {secret_id: a, assume_role: {session_name: a b}}}", "1:97: " + at + ".secrets_manager.assume_role.session_name: not a session name; write 2 to 64 letters, digits and _+=,.@-"},
		{"iam without anything", "{iam: {}}", "1:13: databases[0].engine: missing; write postgres, mysql or mariadb, since credentials.iam cannot tell\n" +
			"1:13: databases[0].host: missing; write the database's host name, since credentials.iam cannot tell\n" +
			"1:37: " + at + ".iam.user: missing; write the database user that may log in with a token"},
		{"iam without region", "{iam: {user: u}}, host: db.example, engine: mysql", "1:37: " + at + ".iam.region: missing, and not part of the host name; write the region of the database, such as eu-west-1"},
		{"iam in plain text", "{iam: {user: u, region: eu-west-1}}, host: db, engine: mysql, tls: {mode: disable}", "1:110: databases[0].tls.mode: IAM tokens are sent over verified TLS only; use verify-full"},
		{"iam over TLS that nobody verifies", "{iam: {user: u, region: eu-west-1}}, host: db, engine: mysql, tls: {mode: require}", "1:110: databases[0].tls.mode: IAM tokens are sent over verified TLS only; use verify-full"},
		{"signing host", "{iam: {user: u, region: eu-west-1, signing_host: 'https://x'}}, host: db, engine: mysql", "1:85: " + at + ".iam.signing_host: neither a host nor host:port; write the RDS endpoint"},
		{"dsql without anything", "{dsql: {}}", "1:13: databases[0].host: missing; write the endpoint of the cluster, ID.dsql.REGION.on.aws\n" +
			"1:37: " + at + ".dsql.user: missing; write the database role, or admin"},
		{"dsql without region", "{dsql: {user: u}}, host: db.example", "1:37: " + at + ".dsql.region: missing, and not part of the host name; write the region of the cluster, such as eu-west-1"},
		{"dsql of another engine", "{dsql: {user: u}}, host: abc.dsql.eu-west-1.on.aws, engine: mysql", "1:96: databases[0].engine: Aurora DSQL is a postgres; remove it"},
		{"dsql over TLS that verifies no name", "{dsql: {user: u}}, host: abc.dsql.eu-west-1.on.aws, tls: {mode: verify-ca, ca_file: testdata/present.pem}",
			"1:100: databases[0].tls.mode: tokens for Aurora DSQL are sent over verified TLS only; use verify-full"},
		{"dsql by address", "{dsql: {user: u, region: eu-west-1}}, host: 10.0.0.1", "1:13: databases[0].tls.server_name: missing, and host is an address; write the endpoint of the cluster, by which Aurora DSQL finds it"},
		{"value for a variable", "{env: {username: U, password: 'hunter2!'}}, host: db, engine: mysql", "1:66: " + at + ".env.password: not the name of an environment variable; write the name, not the value"},
		{"misplaced password", "{file: {path: x, pasword: hunter2}}", "1:53: " + at + `.file.pasword: unknown key; the nearest valid key is "path"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantErrors(t, "databases: [{name: a, credentials: "+tt.yaml+"}]\n", tt.want)
		})
	}
}

func TestParseReportsAllErrorsInOrder(t *testing.T) {
	wantErrors(t, `
log: {level: loud}
databases:
  - name: a
    port: 70000
    lissten: x
    listen: 0.0.0.0:1
    credentials: {}
  - name: a
    engine: oracle
    credentials: {file: {path: x}}
shutdown: {min_delay: soon}
`, `2:14: log.level: "loud" is not valid here; write debug, info, warn or error
5:11: databases[0].port: 70000 is not a port; write a number from 1 to 65535
6:5: databases[0].lissten: unknown key; the nearest valid key is "listen"
7:13: databases[0].listen: "0.0.0.0:1" is open to other machines; set client_tls.client_ca_file so that clients must show a certificate, or write access.allow_remote: true
8:5: databases[0].credentials: no credential source; write one of secrets_manager, iam, dsql, file or env
9:11: databases[1].name: "a" is already the name of databases[0]; write another
10:13: databases[1].engine: "oracle" is not valid here; write postgres, mysql or mariadb
12:23: shutdown.min_delay: not a duration; write one such as 90s, 5m or 1h`)
}

// wantErrors parses text and compares the whole error.
func wantErrors(t *testing.T, text, want string) {
	t.Helper()
	_, err := config.Parse("f.yaml", []byte(text))
	if err == nil {
		t.Fatalf("no error; want\n%s", want)
	}
	if got := strings.ReplaceAll("\n"+err.Error(), "\nf.yaml:", "\n")[1:]; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
