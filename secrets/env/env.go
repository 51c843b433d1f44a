// Package env reads a database credential from two environment variables. It is
// for a laptop: the environment of a process is no safe place for a password.
//
// Invariant: errors name variables, never their values. The environment of a
// running process does not change from outside, so neither does the credential.
package env

import (
	"context"
	"os"

	"github.com/credproxy/credproxy/secrets"
)

// Source is two environment variables. It is a secrets.Source.
type Source struct{ username, password string }

// New makes a source of the variables that hold the user name and the password.
func New(username, password string) *Source { return &Source{username, password} }

// Kind is "env".
func (s *Source) Kind() string { return "env" }

// Fetch reads the variables. It knows no staging label but AWSCURRENT.
func (s *Source) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "environment variables have no %s", stage)
	}
	for _, name := range []string{s.username, s.password} {
		if os.Getenv(name) == "" {
			return nil, secrets.Errorf(secrets.NotFound, "environment variable %s is not set or empty", name)
		}
	}
	c := secrets.NewCredential(os.Getenv(s.username), os.Getenv(s.password))
	c.VersionID = secrets.LocalVersion(c.Username, c.Password())
	return c, nil
}
