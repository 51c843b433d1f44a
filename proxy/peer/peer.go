// Package peer finds out which user of this machine is at the other end of a
// connection: [Resolver].
//
// Invariant: an answer is true of the connection as long as it lives. Where the
// kernel's answer could be about somebody else (a port taken over, a user outside of
// this user namespace) there is an error in its place, never a guess.
//
// The package decides nothing: who may connect is package proxy's.
package peer

import (
	"errors"
	"net"
)

// ErrGone is a client that closed its connection before its user was known.
var ErrGone = errors.New("the client closed its connection")

// IsUnix reports whether a client came through a unix socket.
func IsUnix(c net.Conn) bool { return c.LocalAddr().Network() == "unix" }
