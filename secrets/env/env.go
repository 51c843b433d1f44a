// Package env reads a database credential from two environment variables. It is
// for a laptop: the environment of a process is no safe place for a password.
//
// Invariant: errors name variables, never their values. The environment of a
// running process does not change from outside, so neither does the credential.
// A password that was read is no longer in the environment, so that no program
// that credproxy starts (AWS's credential_process) inherits it.
package env

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/credproxy/credproxy/secrets"
)

// Variables remembers the passwords that it took out of the environment. The zero
// Variables is ready.
type Variables struct {
	mu    sync.Mutex
	taken map[string]*secrets.Credential // by variable; they have only a password
}

// take returns the value of a variable as a password, an empty one if it is not set.
func (v *Variables) take(name string) *secrets.Credential {
	v.mu.Lock()
	defer v.mu.Unlock()
	if value := os.Getenv(name); value != "" {
		if v.taken == nil {
			v.taken = map[string]*secrets.Credential{}
		}
		v.taken[name] = secrets.NewCredential("", value)
		_ = os.Unsetenv(name) // fails for names that cannot be set either
	}
	if c := v.taken[name]; c != nil {
		return c
	}
	return secrets.NewCredential("", "")
}

// Source is two environment variables. It is a secrets.Source.
type Source struct {
	cred    *secrets.Credential
	missing string // the variable that is not set or empty
}

// Source makes a source of the variables that hold the user name and the password,
// which it takes out of the environment.
func (v *Variables) Source(username, password string) *Source {
	s := &Source{cred: v.take(password).WithUsername(os.Getenv(username))}
	s.cred.UseLocalVersion()
	switch {
	case s.cred.Username == "":
		s.missing = username
	case s.cred.IsEmpty():
		s.missing = password
	}
	return s
}

// Kind is "env".
func (s *Source) Kind() string { return "env" }

// Fetch returns the credential. It knows no staging label but AWSCURRENT.
func (s *Source) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	if stage != secrets.Current {
		return nil, secrets.Errorf(secrets.NoVersion, "environment variables have no %s", stage)
	}
	if s.missing != "" {
		return nil, &secrets.Error{
			Reason: secrets.NotFound, Hint: "Set the environment variables that credentials.env names, and start credproxy again.",
			Err: fmt.Errorf("environment variable %s is not set or empty", s.missing),
		}
	}
	return s.cred, nil
}
