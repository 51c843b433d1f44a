//go:build !linux

package upgrade

import (
	"context"
	"errors"
	"net"
	"os"
)

func isReset(error) bool { return false }

func (l line) connect(context.Context) (net.Conn, error) { return nil, errors.ErrUnsupported }

// Accept implements net.Listener.
func (q questions) Accept() (net.Conn, error) { return nil, errors.ErrUnsupported }

// Notify relays nothing: there is no upgrade here to ask for.
func Notify(chan<- os.Signal) {}

// Start says that it cannot.
func Start(Program, Offer) (*Successor, error) { return nil, Possible() }

// Take returns nil: nobody hands over here.
func Take() (*Succession, error) { return nil, nil }
