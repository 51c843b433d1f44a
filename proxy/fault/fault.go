package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"

	"go.uber.org/zap/zapcore"

	"github.com/credproxy/credproxy/secrets"
)

// Kind classifies how a session ended. It is the result label of metrics, picks
// the log level, and from it an engine derives the error code its client sees.
type Kind string

const (
	OK                 Kind = "ok"
	ClientGone         Kind = "client_gone"         // left before it was logged in
	ClientProtocol     Kind = "client_protocol"     // sent what the protocol does not allow
	ClientTimeout      Kind = "client_timeout"      // was too slow to ask
	NotAllowed         Kind = "not_allowed"         // may not connect here
	TooMany            Kind = "too_many"            // max_connections is reached, or the limit of open files
	ShuttingDown       Kind = "shutting_down"       // credproxy is draining
	SecretProblem      Kind = "secret"              // no credential could be had
	Unreachable        Kind = "unreachable"         // no connection to the database
	Moved              Kind = "moved"               // the database is another than the client was told
	UpstreamTLS        Kind = "upstream_tls"        // no verified TLS to the database
	UpstreamAuth       Kind = "upstream_auth"       // the database asks for what we cannot or will not do
	CredentialRejected Kind = "credential_rejected" // the database refused every credential
	UpstreamRefused    Kind = "upstream_refused"    // the database refused for another cause
	UpstreamBroken     Kind = "upstream_protocol"   // the database broke the protocol or the connection
	Timeout            Kind = "login_timeout"       // the login took longer than login_timeout
	Internal           Kind = "internal"            // a defect of credproxy
)

// Kinds lists them all.
func Kinds() []Kind {
	return []Kind{OK, ClientGone, ClientProtocol, ClientTimeout, NotAllowed, TooMany, ShuttingDown, SecretProblem, Unreachable, Moved,
		UpstreamTLS, UpstreamAuth, CredentialRejected, UpstreamRefused, UpstreamBroken, Timeout, Internal}
}

// Error is a failure of a session before the relay.
type Error struct {
	Kind Kind
	// Message says what happened, and Hint what an operator would do. A client
	// sees both: they hold no secret, account id or path.
	Message string
	Hint    string
	// Err is the cause, for the log only; it may be nil.
	Err error
	// Silent says that the client is not told: it has left, or it awaits no
	// message of the protocol.
	Silent bool
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return fmt.Sprintf("%s: %v", e.Message, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Told is what the client hears of the error.
func (e *Error) Told() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + ". " + e.Hint
}

// NoReply reports whether k is a login that ended before the database could answer
// it.
func (k Kind) NoReply() bool {
	return k == Unreachable || k == UpstreamTLS || k == UpstreamBroken
}

// As returns the [Error] in err's chain, or makes one of what err is: a
// source's failure, a timeout, or else a defect.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*secrets.Error](err); ok {
		return secretError(e)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Kind: Timeout, Message: "the login took too long",
			Hint: "Is the database overloaded, or limits.login_timeout too short?", Err: err}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		return ErrShuttingDown(err)
	}
	return &Error{Kind: Internal, Message: "internal error", Hint: "See the log of credproxy.", Err: err}
}

// ErrShuttingDown is what a client hears that arrives while credproxy drains.
func ErrShuttingDown(cause error) *Error {
	return &Error{Kind: ShuttingDown, Message: "credproxy is shutting down", Hint: "Connect again.", Err: cause}
}

// ErrNoServerSession is what a client hears that has waited for one of
// pool.max_server_connections in vain.
func ErrNoServerSession() *Error {
	return &Error{Kind: TooMany, Message: "no server session was free in time (pool.max_server_connections)",
		Hint: "Close sessions that are not used, or raise pool.max_server_connections or pool.wait_timeout in the configuration of credproxy."}
}

// ErrDatabase is what a client hears that names a database it may not use.
// The database has seen no credential then.
func ErrDatabase(name string) error {
	return secrets.MarkNotSent(&Error{Kind: NotAllowed, Message: fmt.Sprintf("database %q may not be used through this listener", Clip(name)),
		Hint: "Add it to access.databases in the configuration of credproxy."})
}

func secretError(e *secrets.Error) *Error {
	out := &Error{Kind: SecretProblem, Err: e}
	switch e.Reason {
	case secrets.NotFound:
		out.Message, out.Hint = "the secret with the database credential does not exist",
			"Check the name, region or path of the secret in the configuration of credproxy."
	case secrets.NoVersion:
		out.Message, out.Hint = "the secret has no current version",
			"Store a value in the secret."
	case secrets.Denied:
		out.Message, out.Hint = "credproxy may not read the secret with the database credential",
			"Allow its role to read the secret and to decrypt with its key; the log of credproxy names both."
	case secrets.Malformed:
		out.Message, out.Hint = "the secret does not hold a database credential",
			"It should be a JSON object with username and password; the log of credproxy says what is missing."
	default:
		out.Message, out.Hint = "no database credential could be fetched yet",
			"The store of secrets cannot be reached or throttles; the log of credproxy has the details. Try again."
	}
	out.Hint = cmp.Or(e.Hint, out.Hint)
	return out
}

// Level is how loud a session's failure is: what clients do is their business,
// what keeps a client from its database is the operator's.
func (k Kind) Level() zapcore.Level {
	switch k {
	case ClientGone, ClientProtocol, ClientTimeout, ShuttingDown:
		return zapcore.InfoLevel
	case NotAllowed, TooMany, UpstreamRefused, Moved:
		return zapcore.WarnLevel
	}
	return zapcore.ErrorLevel
}

// Clip caps what a peer can put into a message or a log line, at 64 bytes. Names
// of users and databases have no more.
func Clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 64)], "") }

// FromPanic returns the error of a session that panicked with p, with the stack of
// the caller's goroutine as its cause.
func FromPanic(p any) *Error {
	return &Error{Kind: Internal, Message: "internal error", Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
}
