// Package inventory_test drives credproxy init against an account of AWS: what databases it
// finds there, what it writes, and whether that leads to them.
//
// The account is the stand-in's, the databases behind it are real. A server that is missing
// fails a test; run setup.sh first.
package inventory_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

func TestMain(m *testing.M) { sidecar.Main(m, sidecar.Built(&binary)) }
