package proxy

import (
	"errors"
	"net"

	"go.uber.org/zap"
)

// Access says which users of this machine may connect.
type Access struct {
	// Owner tells the id of the user at the other end of a connection;
	// [peer.Resolver] does. nil: nobody can tell.
	Owner func(net.Conn) (uid uint32, err error)
	// UIDs are the users who may connect, each with the name that the log gives
	// it, or "". Empty: everybody.
	UIDs map[uint32]string
}

// identity is who the client of a session is.
type identity struct {
	uid uint32
	err error // why it is not known
}

func (a Access) identify(c net.Conn) identity {
	if a.Owner == nil {
		return identity{err: errors.New("nothing here tells the users of connections")}
	}
	uid, err := a.Owner(c)
	return identity{uid, err}
}

// fields describes the client for the log.
func (a Access) fields(id identity) []zap.Field {
	if id.err != nil {
		return nil
	}
	fields := []zap.Field{zap.Uint32("peer_uid", id.uid)}
	if name := a.UIDs[id.uid]; name != "" {
		fields = append(fields, zap.String("peer_user", name))
	}
	return fields
}
