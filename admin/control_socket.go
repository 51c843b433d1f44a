package admin

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	// AutoControl is the admin.control that has ControlSockets choose.
	AutoControl = "auto"
	// DefaultSocket is where the socket for control is on a machine that has its folder.
	DefaultSocket = "/run/credproxy/control.sock"
	// defaultListen is the admin.listen whose process has DefaultSocket: of several on a
	// machine, one.
	defaultListen = "127.0.0.1:9090"
)

// ControlSockets returns where the socket for control may be, in the order in which to
// try: paths, and abstract names with an @ before them (unix(7)). control and listen
// are admin.control and admin.listen. The process takes the first that it can have, and
// whoever looks for it finds it there.
func ControlSockets(control, listen string) []string {
	if control != AutoControl {
		if path, ok := strings.CutPrefix(control, "unix:"); ok {
			return []string{path}
		}
		return nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil
	}
	if ip, err := netip.ParseAddr(host); host == "" || strings.EqualFold(host, "localhost") || err == nil && (ip.IsUnspecified() || ip.Unmap().IsLoopback() && ip.Is6()) {
		host = "127.0.0.1"
	}
	listen = net.JoinHostPort(strings.ToLower(host), port)
	var sockets []string
	if _, err := os.Stat(filepath.Dir(DefaultSocket)); err == nil && listen == defaultListen {
		sockets = append(sockets, DefaultSocket)
	}
	if runtime.GOOS == "linux" {
		sockets = append(sockets, "@credproxy/"+listen)
	}
	return sockets
}
