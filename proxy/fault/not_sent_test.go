package fault_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

type oneSecret struct{}

func (oneSecret) Kind() string { return "test" }

func (oneSecret) Fetch(context.Context, secrets.Stage) (*secrets.Credential, error) {
	c := secrets.NewCredential("app", "x")
	c.VersionID = "v1"
	return c, nil
}

// TestADatabaseNotAllowedProvesNothing: after a client that asked for what it may
// not have, logins wait for the verdict of one as before.
func TestADatabaseNotAllowedProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := secrets.New(oneSecret{}, secrets.Options{})
		defer c.Close()
		err := c.Login(t.Context(), func(context.Context, *secrets.Credential) error { return fault.ErrDatabase("hr") })
		if fault.As(err).Kind != fault.NotAllowed {
			t.Fatalf("login: %v", err)
		}
		var tried atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				_ = c.Login(t.Context(), func(context.Context, *secrets.Credential) error {
					tried.Add(1)
					time.Sleep(time.Second)
					return nil
				})
			})
		}
		synctest.Wait()
		if n := tried.Load(); n != 1 {
			t.Errorf("%d logins at once with a credential that nobody has proved", n)
		}
		all.Wait()
	})
}
