package rotation_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/lambdastub"
)

// TestSilentServer has a server take connections and say nothing: the function says so before
// its time is over, at which Lambda would kill it without a word, and measures the failure.
func TestSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close() // nobody accepts: the kernel does
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			s := newStand(t, &engine{name: kind, addr: silent.Addr().String})
			s.strategy = []string{"--strategy", "single"}
			f := s.lambda(t)
			r := s.aws.StartRotation(s.secret)
			must(t, invoker(f)(t.Context(), r.Event("createSecret")))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := f.Invoke(ctx, r.Event("setSecret"))
			user, _ := s.labelled(awsstub.Current)
			var failure *lambdastub.Error
			if !errors.As(err, &failure) || failure.Type != "RotationFailed" || !strings.Contains(failure.Message, "login as") || !strings.Contains(failure.Message, user) || !strings.Contains(failure.Message, "time is nearly over") {
				t.Errorf("setSecret: %v", err)
			}
			if logs := f.Logs(); !strings.Contains(logs, `"RotationStepFailures":1`) {
				t.Errorf("the metrics do not tell of the failure:\n%s", logs)
			}
		})
	}
}
