package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// TestSinkTellsHowMuchIsWritten has a reader who takes more than the kernel holds,
// then none, then one that has gone.
func TestSinkTellsHowMuchIsWritten(t *testing.T) {
	near, far := nettest.Pair(t)
	s := NewWriter(near)
	if _, ok := s.(net.Conn); ok && canAwait {
		t.Fatal("no sink is made of a socket")
	}
	content := bytes.Repeat(pattern(1<<16+1), 128) // more than the kernel holds
	read := make(chan []byte)
	go func() {
		got := make([]byte, len(content))
		_, _ = io.ReadFull(far, got)
		read <- got
	}()
	if n, err := s.Write(content); n != len(content) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if !bytes.Equal(<-read, content) {
		t.Error("other bytes arrived")
	}
	_ = near.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	written := 0
	for {
		n, err := s.Write(content)
		if written += n; err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		break
	}
	_ = near.(*net.TCPConn).CloseWrite()
	if n, err := io.Copy(io.Discard, far); n != int64(written) || err != nil {
		t.Errorf("%d bytes arrived of %d, %v", n, written, err)
	}
	_ = near.SetWriteDeadline(time.Time{})
	if n, err := s.Write(content); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	_ = near.Close()
	if n, err := s.Write(content); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %d bytes, %v", n, err)
	}
}
