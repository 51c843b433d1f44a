package config

import (
	"strings"
	"time"

	"fmt"
	"math"
	"strconv"
)

const (
	maxIdentifier  = 128 // bytes of a database or role name; PostgreSQL has 63, MySQL 64 characters
	maxConnections = 1_000_000
)

func (v *validator) database(at string, d *Database) {
	v.name(at, d.Name)
	if d.Engine != "" {
		v.oneOf(at+".engine", string(d.Engine), string(Postgres), string(MySQL), string(MariaDB))
	}
	v.endpoint(at, d)
	v.listeners(at, d)
	v.credentials(at, d)
	v.failover(at, d)
	v.settings(at, d)
}

// settings checks what says nothing of where a database is and how to log in.
func (v *validator) settings(at string, d *Database) {
	v.tls(at+".tls", d.TLS)
	v.unverifiedPassword(at+".tls", d)
	v.rotation(at, d)
	v.limits(at+".limits", d.Limits)
	v.pool(at+".pool", d.Pool)
	v.access(at+".access", d)
	v.clientTLS(at+".client_tls", d.ClientTLS)
	v.identifier(at+".session.role", d.Session.Role)
	if d.Session.Role != "" && (d.Engine == MySQL || d.Engine == MariaDB) {
		v.failf(at+".session.role", "%s has no SET ROLE at login; remove it, or use it with engine postgres", d.Engine)
	}
}

func (v *validator) name(at, name string) {
	path := at + ".name"
	switch {
	case name == "" && !v.written(path):
		v.fail(path, "missing; write a short name for logs and metrics")
	case !databaseName.MatchString(name):
		v.fail(path, "not a usable name; write 1 to 64 letters, digits, dots, underscores or hyphens")
	case v.names[name] != "":
		v.failf(path, "%q is already the name of %s; write another", name, v.names[name])
	default:
		v.names[name] = at
	}
}

func (v *validator) endpoint(at string, d *Database) {
	if d.Host != "" && !isHost(d.Host) {
		v.failf(at+".host", "%q is not a host name or address; write it alone, the port goes under port", shorten(d.Host))
	}
	if d.Port != 0 || v.written(at+".port") {
		if d.Port < 1 || d.Port > math.MaxUint16 {
			v.failf(at+".port", "%d is not a port; write a number from 1 to 65535", d.Port)
		}
	}
	v.identifier(at+".database", d.Database)
}

func (v *validator) identifier(path, name string) {
	if len(name) > maxIdentifier {
		v.failf(path, "longer than %d bytes; no database has such a name", maxIdentifier)
	}
}

func (v *validator) tls(at string, t TLS) {
	v.oneOf(at+".mode", string(t.Mode), string(VerifyFull), string(VerifyCA), string(Require), string(Disable))
	v.readable(at+".ca_file", t.CAFile)
	v.readable(at+".client_cert_file", t.ClientCertFile)
	v.readable(at+".client_key_file", t.ClientKeyFile)
	v.pair(at, "client_cert_file", t.ClientCertFile, "client_key_file", t.ClientKeyFile)
	if t.ServerName != "" && !isHost(t.ServerName) {
		v.failf(at+".server_name", "%q is not a host name or address; write the name in the server's certificate", shorten(t.ServerName))
	}
	if t.CAFile != "" && (t.Mode == Require || t.Mode == Disable) {
		v.failf(at+".ca_file", "mode %s verifies nothing and would ignore it; use mode verify-full or verify-ca, or remove it", t.Mode)
	}
	if t.CAFile == "" && t.Mode == VerifyCA {
		v.fail(at+".mode", "verify-ca without ca_file would take any certificate of any public authority; set ca_file, or use verify-full")
	}
	if t.ClientCertFile != "" && t.Mode == Disable {
		v.fail(at+".client_cert_file", "mode disable uses no certificate; use another mode, or remove it")
	}
}

// unverifiedPassword holds the key to where it does something.
func (v *validator) unverifiedPassword(at string, d *Database) {
	path := at + ".allow_unverified_password"
	switch {
	case !d.TLS.AllowUnverifiedPassword:
	case d.Engine == Postgres:
		v.fail(path, "postgres asks for no password in that way; remove it")
	case d.TLS.Mode != Require && d.TLS.Mode != Disable:
		v.failf(path, "mode %s verifies the server, which may have the password then; remove it", d.TLS.Mode)
	}
}

func (v *validator) rotation(at string, d *Database) {
	v.aboveZero(at+".rotation.refresh", d.Rotation.Refresh)
	v.atLeastZero(at+".rotation.grace", d.Rotation.Grace)
	if d.Rotation.MaxStale < d.Rotation.Refresh {
		v.failf(at+".rotation.max_stale", "%s is shorter than rotation.refresh (%s), so the credential would be out of date between two refreshes; write at least that", d.Rotation.MaxStale, d.Rotation.Refresh)
	}
	v.events(at, d)
	v.atLeastZero(at+".probe.interval", d.Probe.Interval)
	if t := d.Probe.WriteTable; t != "" && !IsTable(t) {
		v.failf(at+".probe.write_table", "%q is not a table; write table or schema.table, of letters, digits and underscores", shorten(t))
	}
	v.aboveZero(at+".break_glass.max_duration", d.BreakGlass.MaxDuration)
}

func (v *validator) limits(at string, l Limits) {
	if l.MaxConnections < 1 || l.MaxConnections > maxConnections {
		v.failf(at+".max_connections", "%d is out of range; write a number from 1 to %d", l.MaxConnections, maxConnections)
	}
	v.aboveZero(at+".login_timeout", l.LoginTimeout)
	v.aboveZero(at+".lookup_timeout", l.LookupTimeout)
	v.aboveZero(at+".dial_timeout", l.DialTimeout)
	if l.ServerTimeout < time.Second {
		v.failf(at+".server_timeout", "%s is shorter than a second, in which a packet may have to be sent again; write 1s or more", l.ServerTimeout)
	}
}

func (v *validator) pool(at string, p Pool) {
	if p.Mode != PoolOff && p.Mode != PoolSession {
		v.failf(at+".mode", "%q is none; write off or session", shorten(string(p.Mode)))
	}
	for _, number := range []struct {
		key   string
		value int
	}{{"max_idle", p.MaxIdle}, {"warm", p.Warm}, {"max_server_connections", p.MaxServerConnections}} {
		if number.value < 0 || number.value > maxConnections {
			v.failf(at+"."+number.key, "%d is out of range; write a number from 0 to %d", number.value, maxConnections)
		}
	}
	if p.Warm > p.MaxIdle {
		v.failf(at+".warm", "%d is more than max_idle (%d), which are kept; write at most that", p.Warm, p.MaxIdle)
	}
	v.aboveZero(at+".wait_timeout", p.WaitTimeout)
	v.aboveZero(at+".idle_timeout", p.IdleTimeout)
	v.aboveZero(at+".max_lifetime", p.MaxLifetime)
}

func (v *validator) access(at string, d *Database) {
	a := d.Access
	if a.Replication && (d.Engine == MySQL || d.Engine == MariaDB) {
		v.failf(at+".replication", "%s has no such thing; remove it, or use it with engine postgres", d.Engine)
	} else if a.Replication && len(a.Databases) == 0 {
		v.fail(at+".replication", "does nothing without databases, where nothing is refused; remove it")
	}
	v.users(at+".uids", a.UIDs)
	for i, name := range a.Databases {
		path := v.entry(at+".databases", i)
		if name == "" {
			v.fail(path, "empty; write the name of a database, or remove the entry")
		}
		v.identifier(path, name)
	}
}

// users checks a list of ids and names of users.
func (v *validator) users(list string, users []string) {
	for i, uid := range users {
		number, err := strconv.ParseUint(uid, 10, 32)
		isUID := uidNumber.MatchString(uid) && err == nil && number < math.MaxUint32 // the last means "no user"
		if !isUID && !userName.MatchString(uid) {
			v.failf(v.entry(list, i), "%q is neither a user id nor a user name; write one such as 1000 or app", shorten(uid))
		}
	}
}

// entry is the path of a list's entry, or of the list if it is written as one string.
func (v *validator) entry(list string, i int) string {
	if path := fmt.Sprintf("%s[%d]", list, i); v.written(path) {
		return path
	}
	return list
}

func (v *validator) clientTLS(at string, t ClientTLS) {
	v.readable(at+".cert_file", t.CertFile)
	v.readable(at+".key_file", t.KeyFile)
	v.readable(at+".client_ca_file", t.ClientCAFile)
	v.pair(at, "cert_file", t.CertFile, "key_file", t.KeyFile)
	if t.ClientCAFile != "" && t.CertFile == "" && t.KeyFile == "" {
		v.fail(at+".client_ca_file", "needs cert_file and key_file beside it; TLS from clients starts with credproxy's own certificate")
	}
}

// IsTable reports whether s names a table as probe.write_table does: table or
// schema.table, of letters, digits and underscores.
func IsTable(s string) bool {
	schema, table, ok := strings.Cut(s, ".")
	return tableName.MatchString(schema) && (!ok || tableName.MatchString(table))
}
