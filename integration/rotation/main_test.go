// Package rotation_test drives the two programs that rotate secrets, credproxy rotate and
// credproxy-rotation, as their users and as Lambda do: real servers on one side, a stand-in
// for AWS on the other, and clients who must not notice.
//
// It knows nothing of their inside. A server that is missing fails a test; run setup.sh
// first.
package rotation_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// Programs, built with the race detector.
var binary, bootstrap string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "credproxy-rotation-test")
	if err == nil {
		binary, err = sidecar.Build(context.Background(), dir)
	}
	if err == nil {
		bootstrap, err = sidecar.BuildRotation(context.Background(), dir)
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
