// Package pool_test drives a credproxy that gives server sessions to one client after
// another: what a client leaves behind must not reach the next.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test; run
// setup.sh first.
package pool_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "credproxy-pool-test")
	if err == nil {
		binary, err = sidecar.Build(context.Background(), dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
