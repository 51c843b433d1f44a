// Package discovery_test drives credproxy through the life of an AWS account: databases come,
// go, fail over and are renamed, and the sessions of all others go on.
//
// The account is the stand-in's, the databases behind it are real. A server that is missing
// fails a test; run setup.sh first.
package discovery_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) { sidecar.Main(m, sidecar.Built(&binary)) }
