package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/credproxy/credproxy/proxy/fault"
)

// dialError tells the ways apart in which a dial fails.
func dialError(err error, host string, port int) *fault.Error {
	e := &fault.Error{Kind: fault.Unreachable, Err: err}
	at := fmt.Sprintf("the database at %s port %d", host, port)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case noDescriptor(err):
		e.Kind, e.Message = fault.TooMany, "too many connections: credproxy may open no more files"
		e.Hint = "Raise the limit of open files (ulimit -n, LimitNOFILE=): a session takes two. Or lower limits.max_connections."
	case isDNS && dns.IsNotFound:
		e.Message, e.Hint = fmt.Sprintf("the database's host %q has no address", host), "Check host for a typing error, and the name servers of this machine."
	case isDNS && dns.IsTimeout:
		e.Message, e.Hint = fmt.Sprintf("the name servers do not answer for the database's host %q", host), "Check the name servers of this machine, or raise limits.lookup_timeout."
	case isDNS:
		e.Message, e.Hint = fmt.Sprintf("the database's host %q cannot be looked up", host), "Check the name servers of this machine."
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Message, e.Hint = at+" refuses connections", "Is it running, and is this its port?"
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		e.Message, e.Hint = at+" does not answer", "Check security groups, routes and that the database is running."
	default:
		e.Message, e.Hint = at+" cannot be reached", "Check the network between credproxy and the database."
	}
	return e
}

// noDescriptor reports whether the process or the system has as many files open as it
// may. It looks at the text, which is all that net.DNSError keeps of the cause.
func noDescriptor(err error) bool {
	text := err.Error()
	return strings.Contains(text, syscall.EMFILE.Error()) || strings.Contains(text, syscall.ENFILE.Error())
}
