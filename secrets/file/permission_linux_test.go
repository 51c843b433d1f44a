package file_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/file"
)

func TestFetchDenied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, document("app"))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	// Root reads everything: while its thread has another user's file system id
	// it does not. The thread ends with the goroutine, which keeps it locked.
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		_ = syscall.Setfsuid(65534) // without root: already another user, and no matter
		_, err := file.New(path).Fetch(t.Context(), secrets.Current)
		result <- err
	}()
	err := <-result
	wantError(t, err, secrets.Denied, "permission denied; let the user that credproxy runs as, whose id is")
	wantHint(t, err, "Let the user that credproxy runs as read the file")
}
