// Package pool_test drives a credproxy that gives server sessions to one client after
// another: what a client leaves behind must not reach the next.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test; run
// setup.sh first.
package pool_test

import (
	"os"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) { sidecar.Main(m, sidecar.Built(&binary)) }

// soak reports whether make soak runs the tests, and time is no matter.
func soak() bool { return os.Getenv("CREDPROXY_SOAK") != "" }
