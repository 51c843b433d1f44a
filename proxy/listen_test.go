package proxy

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
)

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder", ".s.PGSQL.5432")
	ln, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("folder %v, %v", info.Mode(), err)
	}
	if ln.Addr().String() != path {
		t.Errorf("address %s", ln.Addr())
	}
	if _, err := Listen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("second listener: %v", err)
	}
	_ = ln.(*unixListener).UnixListener.Close() // as if the process had died
	again, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	go func() {
		if c, err := again.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = again.Close()
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A socket that another process has put in the place of ours is not ours to remove.
func TestListenUnixLeavesSuccessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // as an operator does who sees a hung process
		t.Fatal(err)
	}
	successor, err := Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	_ = ln.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the successor's socket has gone: %v", err)
	}
	_ = c.Close()
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for addr, want := range map[string]string{
		"unix:" + file: "not a socket",
		"unix:/" + strings.Repeat("x", config.MaxSocketPath): "103 bytes",
		"unix:" + dir + "/" + strings.Repeat("y", 103-6):     "bytes",
		busy.Addr().String():                                 "in use",
		"127.0.0.1:99999":                                    "listen on 127.0.0.1:99999",
	} {
		if ln, err := Listen(t.Context(), addr); err == nil || !strings.Contains(err.Error(), want) {
			if ln != nil {
				_ = ln.Close()
			}
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file in the way: %q, %v", b, err)
	}
}
