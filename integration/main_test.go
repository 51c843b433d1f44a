// Package integration_test drives the built credproxy as its users do: real
// clients on one side, real servers on the other, and a stand-in for AWS.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test;
// run setup.sh first.
package integration_test

import (
	"context"
	"os"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// binary is credproxy, built with the race detector.
var binary string

// binaryVariable names a binary that is already built: a test that starts itself
// again passes it on.
const binaryVariable = "CREDPROXY_TEST_BINARY"

func TestMain(m *testing.M) {
	sidecar.Main(m, func(ctx context.Context, dir string) (err error) {
		if binary = os.Getenv(binaryVariable); binary == "" {
			binary, err = sidecar.Build(ctx, dir)
		}
		return err
	})
}
