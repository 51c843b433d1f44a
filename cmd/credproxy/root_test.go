package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// TestExitStatus: what lies in the call or in the configuration is told apart from what
// went wrong, however deep it is wrapped.
func TestExitStatus(t *testing.T) {
	plain := errors.New("it broke")
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{plain, exitFailed},
		{usageError{plain}, exitUsage},
		{config.Invalid(plain), exitUsage},
		{errors.Join(plain, fmt.Errorf("database orders: %w", config.Invalid(plain))), exitUsage},
	} {
		if got := exitStatus(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
	if err := config.Invalid(plain); err.Error() != "it broke" || !errors.Is(err, plain) {
		t.Errorf("the mark changes the error: %v", err)
	}
}
