package proxy

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The group that may use the socket gets to it also under the umask that
// cmd/credproxy sets.
func TestListenUnixUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	ln, err := Listen(t.Context(), "unix:"+filepath.Join(dir, "new", "folder", "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for path, want := range map[string]os.FileMode{"new": 0o750, "new/folder": 0o750, "new/folder/s": 0o660} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}
