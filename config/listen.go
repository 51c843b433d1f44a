package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// MaxSocketPath is the longest path of a Unix socket that every platform takes, in
// bytes: sun_path has 104 with the closing NUL on macOS and the BSDs, 108 on Linux.
const MaxSocketPath = 103

// ParseListener splits a listener into the network and address that net.Listen
// takes: "unix:/path" gives "unix" and "/path", all else must be host:port and
// gives "tcp". Port 0 stands for any free port.
func ParseListener(s string) (network, address string, err error) {
	path, isUnix := strings.CutPrefix(s, "unix:")
	switch {
	case !isUnix:
		_, _, err := splitHostPort(s)
		return "tcp", s, err
	case !filepath.IsAbs(path):
		return "", "", errors.New("the path of a unix socket must be absolute; write unix:/run/credproxy/name")
	case len(path) > MaxSocketPath:
		return "", "", fmt.Errorf("the path of a unix socket has %d bytes, systems take %d; use a shorter directory", len(path), MaxSocketPath)
	}
	return "unix", path, nil
}

func splitHostPort(s string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port; write one such as 127.0.0.1:5432, or unix:/path", shorten(s))
	}
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not a port; write a number from 0 to 65535", shorten(digits))
	}
	if host != "" && !isHost(host) {
		return "", 0, fmt.Errorf("%q is not a host; write an address such as 127.0.0.1, or nothing for all interfaces", shorten(host))
	}
	return host, uint16(number), nil
}

// Loopback holds the addresses that localhost stands for.
var Loopback = []string{"127.0.0.1", "::1"}

// LocalhostPort returns the port of a listener on both loopback addresses, "localhost:port".
// It returns 0 for any other, and for port 0, which would be another on each.
func LocalhostPort(s string) int {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !strings.EqualFold(host, localhost) {
		return 0
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	return int(n)
}

const localhost = "localhost"

// loopback reports whether a TCP listener on host is closed to other machines. A
// name other than localhost could mean anything.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, localhost)
}

// isHost accepts an IP address or what can be a DNS name.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && hostName.MatchString(s)
}
