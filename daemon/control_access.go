package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/wiring"
)

// controllers returns the users who may control this process: its own, root, and those
// of admin.uids.
func controllers(cfg config.Admin) (map[uint32]string, error) {
	users, err := wiring.FindUsers("admin.uids", cfg.UIDs)
	if err != nil {
		return nil, config.Invalid(err)
	}
	users[0] = "root"
	users[uint32(os.Getuid())] = ""
	return users, nil
}

// mayControl returns why the user at the other end of c may not control this process.
func (d *daemon) mayControl(c net.Conn) error {
	if c == nil {
		return errors.New("who asks is not known")
	}
	if runtime.GOOS != "linux" && peer.IsUnix(c) {
		return nil // the mode of the socket's file has said who may
	}
	uid, err := d.peers.Owner(c)
	if err != nil {
		d.refusals.Log(d.log, time.Now()).Warn("control refused: who asks is not known", zap.Bool("audit", true), zap.Error(err))
		return errors.New("only some users may do this, and who asks is not known; ask over the control socket (admin.control), and see the log of credproxy")
	}
	if _, ok := d.controllers[uid]; !ok {
		d.refusals.Log(d.log, time.Now()).Warn("control refused", zap.Bool("audit", true), zap.Uint32("peer_uid", uid))
		return fmt.Errorf("the user with id %d may not do this; only credproxy's own user, root, and those of admin.uids may", uid)
	}
	return nil
}

// listenControl opens the socket for control, nil if there is none.
func (d *daemon) listenControl(ctx context.Context, cfg config.Admin) (net.Listener, error) {
	var failed error
	for _, socket := range admin.ControlSockets(cfg.Control, cfg.Listen) {
		ln, err := listenSocket(ctx, socket)
		if err == nil {
			d.log.Info("control socket listens", zap.String("address", socket))
			return ln, nil
		}
		failed = cmp.Or(failed, err)
	}
	if failed != nil && cfg.Control != admin.AutoControl {
		return nil, fmt.Errorf("admin.control: %w", failed)
	}
	if failed != nil {
		d.log.Warn("no control socket; control goes over admin.listen alone", zap.Error(failed))
	}
	return nil, nil
}

// listenSocket listens on a path, which only the process's own user and root can reach,
// or on an abstract name.
func listenSocket(ctx context.Context, socket string) (net.Listener, error) {
	if strings.HasPrefix(socket, "@") {
		return new(net.ListenConfig).Listen(ctx, "unix", socket)
	}
	ln, err := proxy.Listen(ctx, "unix:"+socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}
