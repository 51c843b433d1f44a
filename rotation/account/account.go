// Package account has the words in which a rotation and the engines' statements talk
// of a database's users: what shall become of an account, the statements that make it
// so, and the session in which they run.
//
// Invariant: what of a [Statement] may be shown (Text) has no password and nothing that
// a password is soon guessed from.
//
// It knows neither SQL nor Secrets Manager.
package account

import (
	"context"

	"github.com/credproxy/credproxy/secrets"
)

// CloneSuffix ends the name of the second of two users that take turns, as AWS's templates
// have it.
const CloneSuffix = "_clone"

// Change is what shall become of a database account.
type Change struct {
	// New has the account's name and the password it shall have.
	New *secrets.Credential
	// Like is the user whose rights the account shall have, and that it is made like if
	// it is missing: the other one of two that take turns. Empty: the account exists, and
	// its password alone changes.
	Like string
	// Retain says that the password which the account has shall work too, where the
	// server can do that, until the next change. Current is the credential that must: the
	// one that the session may have logged in with, or not.
	Retain  bool
	Current *secrets.Credential
	// Owner is a role that owns what the users of a PostgreSQL database make; empty: none.
	Owner string
	// AllowMD5 says that an account of PostgreSQL with an md5 password gets one again.
	AllowMD5 bool
}

// Statement is one statement of a change.
type Statement struct {
	SQL  string // as it is sent
	Text string // as it may be shown; empty: SQL may
	// Tolerate lists errors, as SQLSTATE or error number, after which the change goes on.
	Tolerate []string
	// Last lists those after which the change ends as it is: what follows is for others.
	Last []string
}

// Shown returns the statement as it may be shown.
func (s Statement) Shown() string {
	if s.Text != "" {
		return s.Text
	}
	return s.SQL
}

// Server is where the users are.
type Server interface {
	// Login logs in once, in the database that the credential names, if any. The error is
	// marked as secrets.MarkRejected if the server refused the credential itself.
	Login(ctx context.Context, cred *secrets.Credential) (Session, error)
}

// Session is one that a [Server] let in.
type Session interface {
	// Plan returns the statements that c needs, those of what is so already left out. It
	// changes nothing. Whatever would make them fail, so far as it can be known, is an
	// *Obstacle.
	Plan(ctx context.Context, c Change) ([]Statement, error)
	// Query runs statements and returns the rows of the last one as text.
	Query(ctx context.Context, statements ...string) ([][]string, error)
	Close() error
}

// Obstacle is why a change cannot be made, found before anything was touched.
type Obstacle struct {
	Message string // what is in the way
	Hint    string // what to do
}

func (o *Obstacle) Error() string { return o.Message + ". " + o.Hint }

// Discarder is a [Session] of a server that may keep the password before the last one.
type Discarder interface {
	// Discard returns the statements after which no other password than that of current lets
	// its user in; none if there is no other.
	Discard(ctx context.Context, current *secrets.Credential) ([]Statement, error)
}
