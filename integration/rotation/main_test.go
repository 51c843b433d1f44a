// Package rotation_test drives the two programs that rotate secrets, credproxy rotate and
// credproxy-rotation, as their users and as Lambda do: real servers on one side, a stand-in
// for AWS on the other, and clients who must not notice.
//
// It knows nothing of their inside. A server that is missing fails a test; run setup.sh
// first.
package rotation_test

import (
	"context"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// Programs, built with the race detector.
var binary, bootstrap string

func TestMain(m *testing.M) {
	sidecar.Main(m, func(ctx context.Context, dir string) (err error) {
		if binary, err = sidecar.Build(ctx, dir); err == nil {
			bootstrap, err = sidecar.BuildRotation(ctx, dir)
		}
		return err
	})
}
