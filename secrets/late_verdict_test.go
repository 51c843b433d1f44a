package secrets

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestVerdictOfThePlaceBefore has the database at the place before answer late, when the
// secret names another one by now: that says nothing of what the one there takes.
func TestVerdictOfThePlaceBefore(t *testing.T) {
	for name, late := range map[string]error{"refused": MarkRejected(errPassword), "accepted": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {user: "app", at: at("A")}}}
				c := New(unlabelled{src}, Options{})
				defer c.Close()
				if _, err := c.Get(t.Context()); err != nil {
					t.Fatal(err)
				}
				answer, ended := make(chan struct{}), make(chan error)
				go func() {
					ended <- c.Login(t.Context(), func(_ context.Context, cred *Credential) error {
						if cred.Endpoint.Host == "A" {
							<-answer
							return late
						}
						return nil
					})
				}()
				synctest.Wait()
				time.Sleep(lookAgain)
				src.mu.Lock()
				src.versions = map[string]version{"v1": {user: "app", at: at("B")}}
				src.mu.Unlock()
				if _, err := c.look(t.Context(), Current, time.Now(), ReasonSchedule); err != nil {
					t.Fatal(err)
				}
				close(answer)
				if err := <-ended; err != nil {
					t.Errorf("the login that began at A: %v", err)
				}
				s := c.Status()
				if s.Accepted == (late == nil) || s.Refused {
					t.Errorf("of B is known: %+v", s)
				}
				b := &places{takes: map[string][]string{"B": {"v1"}}}
				if err := c.Login(t.Context(), b.try); err != nil {
					t.Errorf("at B: %v", err)
				}
			})
		})
	}
}
