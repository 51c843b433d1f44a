// Package upgrade_test puts new processes in the place of a running credproxy, as an operator and
// a package do, while clients work.
//
// It knows nothing of credproxy's inside. A server that is missing fails a test; run
// setup.sh first.
package upgrade_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// builds are two versions of credproxy, built with the race detector, by what they call
// themselves.
var builds = map[string]string{"v1.0.0": "", "v1.1.0": ""}

func TestMain(m *testing.M) {
	sidecar.Main(m, func(ctx context.Context, dir string) error {
		for version := range builds {
			folder := filepath.Join(dir, version)
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
			var err error
			if builds[version], err = sidecar.BuildVersion(ctx, folder, version); err != nil {
				return err
			}
		}
		return nil
	})
}
