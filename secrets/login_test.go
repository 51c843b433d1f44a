package secrets

import (
	"context"
	"fmt"
	"testing"
)

// TestLoginWhileTheDatabaseTurns has the database change its mind between two
// attempts of one login: what it refused first it takes now.
func TestLoginWhileTheDatabaseTurns(t *testing.T) {
	for _, byAnother := range []bool{false, true} {
		t.Run(fmt.Sprintf("seen first by another login: %v", byAnother), func(t *testing.T) {
			src, db := &labelled{labels: current("v1")}, &database{password: "v1"}
			c := New(src, Options{})
			defer c.Close()
			if err := c.Login(t.Context(), db.try); err != nil {
				t.Fatal(err)
			}
			src.set(current("v2"))
			c.fetch(Current, ReasonChanged) // and now v2 comes first
			db.take()
			err := c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
				if cred.Password() == "v2" {
					return db.try(ctx, cred)
				}
				db.password = "v2"
				if byAnother {
					if err := c.Login(ctx, db.try); err != nil {
						t.Errorf("the other login: %v", err)
					}
				}
				return db.try(ctx, cred)
			})
			if err != nil {
				t.Errorf("offered %v: %v", db.take(), err)
			}
		})
	}
}

// TestLoginFollowsTheEndpoint has the secret name another host after the
// database could not be reached at the first.
func TestLoginFollowsTheEndpoint(t *testing.T) {
	host := "old"
	src := sourceFunc(func() *Credential {
		c := NewCredential("app", "password")
		c.VersionID, c.Endpoint.Host = LocalVersion("app", "password"), host
		return c
	})
	c := New(src, Options{})
	defer c.Close()
	dial := func(_ context.Context, cred *Credential) error {
		if cred.Endpoint.Host == "old" {
			return Unreached(errPassword)
		}
		return nil
	}
	if err := c.Login(t.Context(), dial); err == nil {
		t.Fatal("reached the old host")
	}
	host = "new"
	c.mu.Lock()
	c.labels[Current].started = c.labels[Current].started.Add(-lookAgain)
	c.mu.Unlock()
	for range 2 {
		if err := c.Login(t.Context(), dial); err != nil {
			t.Error(err)
		}
	}
	if got := c.Status().First.Endpoint.Host; got != "new" {
		t.Errorf("next login goes to %s", got)
	}
}

type sourceFunc func() *Credential

func (f sourceFunc) Kind() string { return "test" }

func (f sourceFunc) Fetch(_ context.Context, stage Stage) (*Credential, error) {
	if stage != Current {
		return nil, Errorf(NoVersion, "nothing is labelled %s", stage)
	}
	return f(), nil
}
