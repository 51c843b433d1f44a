//go:build unix

package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

// openFolder is a folder on disk that every user can look into.
func openFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chmod(t, dir, 0o755)
	chmod(t, filepath.Dir(dir), 0o755)
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestFetchWorldReadable(t *testing.T) {
	for name, tc := range map[string]struct {
		modes   map[string]os.FileMode // of what is in the folder
		path    string
		refused string // the file; "": none
	}{
		"mine alone":                     {map[string]os.FileMode{"f": 0o600}, "f", ""},
		"my group's":                     {map[string]os.FileMode{"f": 0o640}, "f", ""},
		"everybody's":                    {map[string]os.FileMode{"f": 0o644}, "f", "f"},
		"in a folder that is not":        {map[string]os.FileMode{"d": 0o750, "d/f": 0o644}, "d/f", ""},
		"a folder that opens to names":   {map[string]os.FileMode{"d": 0o711, "d/f": 0o644}, "d/f", "d/f"},
		"through a link":                 {map[string]os.FileMode{"d": 0o755, "d/f": 0o644}, "link", "d/f"},
		"through a link, closed":         {map[string]os.FileMode{"d": 0o700, "d/f": 0o644}, "link", ""},
		"password":                       {map[string]os.FileMode{"d/username": 0o600, "d/password": 0o644, "d": 0o755}, "d", "d/password"},
		"user name only, of a directory": {map[string]os.FileMode{"d/username": 0o644, "d/password": 0o640, "d": 0o755}, "d", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := openFolder(t)
			for file := range tc.modes {
				switch filepath.Base(file) {
				case "username":
					write(t, filepath.Join(dir, file), "app")
				case "password":
					write(t, filepath.Join(dir, file), password)
				case "f":
					write(t, filepath.Join(dir, file), document("app"))
				}
			}
			for file, mode := range tc.modes {
				chmod(t, filepath.Join(dir, file), mode)
			}
			if tc.path == "link" {
				link(t, "d/f", filepath.Join(dir, "link"))
			}
			source := file.New(filepath.Join(dir, tc.path))
			c, err := source.Fetch(t.Context(), secrets.Current)
			if tc.refused == "" {
				if err != nil || secretstest.Reveal(c) != password {
					t.Errorf("got %v, %v", c, err)
				}
				return
			}
			wantError(t, err, secrets.Denied, "world_readable: true")
			wantHint(t, err, "set world_readable")
			if !errors.Is(err, file.ErrWorldReadable) || !strings.Contains(err.Error(), "/"+tc.refused+" (mode 0644): every user") {
				t.Errorf("got %v", err)
			}
			source.WorldReadable = true
			if c, err := source.Fetch(t.Context(), secrets.Current); err != nil || secretstest.Reveal(c) != password {
				t.Errorf("told to take it: %v, %v", c, err)
			}
		})
	}
}
