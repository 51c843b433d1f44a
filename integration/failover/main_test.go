// Package failover_test drives the built credproxy while the servers of a database change
// roles: real servers at addresses of their own, real replication, and names that go on
// naming the old writer, as Aurora's do.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test; run
// setup.sh first.
package failover_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) { sidecar.Main(m, sidecar.Built(&binary)) }
