package sockets

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/proxy/peer"
	"github.com/credproxy/credproxy/wiring"
)

// Access is who may control a process: its own user, root, and those of admin.uids.
type Access struct {
	log         *zap.Logger
	peers       *peer.Resolver
	controllers map[uint32]string // by user; read only
	refusals    logging.Pace      // in the log
}

// NewAccess finds the users that uids name.
func NewAccess(uids []string, peers *peer.Resolver, log *zap.Logger) (*Access, error) {
	users, err := wiring.FindUsers("admin.uids", uids)
	if err != nil {
		return nil, config.Invalid(err)
	}
	users[0] = "root"
	users[uint32(os.Getuid())] = ""
	return &Access{log: log, peers: peers, controllers: users}, nil
}

// MayControl returns why the user at the other end of c may not control this process.
func (a *Access) MayControl(c net.Conn) error {
	if c == nil {
		return errors.New("who asks is not known")
	}
	if runtime.GOOS != "linux" && peer.IsUnix(c) {
		return nil // the mode of the socket's file has said who may
	}
	uid, err := a.peers.Owner(c)
	if err != nil {
		a.refusals.Log(a.log, time.Now()).Warn("control refused: who asks is not known", zap.Bool("audit", true), zap.Error(err))
		return errors.New("only some users may do this, and who asks is not known; ask over the control socket (admin.control), and see the log of credproxy")
	}
	if _, ok := a.controllers[uid]; !ok {
		a.refusals.Log(a.log, time.Now()).Warn("control refused", zap.Bool("audit", true), zap.Uint32("peer_uid", uid))
		return fmt.Errorf("the user with id %d may not do this; only credproxy's own user, root, and those of admin.uids may", uid)
	}
	return nil
}
