//go:build unix

package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// TestAPipeIsNotReadAgain has a configuration that came through a pipe: to open one
// that nobody writes to would wait for ever.
func TestAPipeIsNotReadAgain(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	unread := errors.New("read again")
	r := reloader{file: pipe, load: func() (*config.Config, error) { return nil, unread }}
	if _, err := r.read(); err == nil || errors.Is(err, unread) || !strings.Contains(err.Error(), pipe+" is a pipe") {
		t.Error(err)
	}
	r.file = ""
	if _, err := r.read(); !errors.Is(err, unread) {
		t.Error(err)
	}
}
