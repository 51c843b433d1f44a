package config

import (
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	maxHosts   = 16
	minMonitor = 100 * time.Millisecond
	maxMonitor = time.Minute
)

// failover checks role, hosts and failover, which belong together.
func (v *validator) failover(at string, d *Database) {
	v.oneOf(at+".role", string(d.Role), string(AnyRole), string(Writer), string(Reader))
	v.hosts(at+".hosts", d.Hosts)
	f, section := d.Failover, at+".failover"
	if f.Monitor < minMonitor || f.Monitor > maxMonitor {
		v.failf(section+".monitor", "%s is out of range; write a duration from %s to %s", f.Monitor, minMonitor, maxMonitor)
	}
	v.atLeastZero(section+".drain", f.Drain)
	v.atLeastZero(section+".hold", f.Hold)
	v.aboveZero(section+".max_lag", f.MaxLag)
	v.oneOf(section+".reader_fallback", string(f.ReaderFallback), string(NoFallback), string(FallbackWriter))
	if d.Role == AnyRole {
		const needless = "does nothing with role any, where no server is asked what it is; set role to writer or reader, or remove it"
		if len(d.Hosts) > 0 {
			v.fail(at+".hosts", needless)
		}
		for _, key := range []string{"monitor", "drain", "hold", "max_lag", "reader_fallback"} {
			if v.written(section + "." + key) {
				v.fail(section+"."+key, needless)
			}
		}
	}
	if d.Role != AnyRole && d.Credentials.DSQL != nil {
		v.fail(at+".role", "a cluster of Aurora DSQL has neither writers nor readers; remove it")
	}
	if d.Role == Writer {
		for _, key := range []string{"max_lag", "reader_fallback"} {
			if v.written(section + "." + key) {
				v.fail(section+"."+key, "is for role reader; remove it")
			}
		}
	}
}

func (v *validator) hosts(list string, hosts []string) {
	if len(hosts) > maxHosts {
		v.failf(list, "%d entries; the most is %d", len(hosts), maxHosts)
	}
	for i, s := range hosts {
		if host, port, err := SplitHost(s); err != nil || host == "" || port > 65535 {
			v.failf(v.entry(list, i), "%q is neither a host nor host:port; write one such as db2.example.com or db2.example.com:5432", shorten(s))
		}
	}
}

// SplitHost returns host and port of an entry of hosts; 0: it names no port.
func SplitHost(s string) (host string, port int, err error) {
	if isHost(s) {
		return s, 0, nil
	}
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err == nil && (number == 0 || !isHost(host)) {
		err = &net.AddrError{Err: "not a host and a port", Addr: s}
	}
	return strings.TrimSuffix(host, "."), int(number), err
}
