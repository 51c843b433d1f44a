package wiring

import (
	"net"
	"path/filepath"
	"strings"
)

// Canonical returns what addr binds to, whatever way it is spelled: a clean path, or an
// address and a number. No address and each of 0.0.0.0 and [::] mean all, IPv4 and
// IPv6 (net.Listen).
func Canonical(addr string) string {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix:" + filepath.Clean(path)
	}
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return addr
	}
	if a.IP == nil || a.IP.IsUnspecified() {
		a.IP = net.IPv6unspecified
	}
	return a.String()
}
