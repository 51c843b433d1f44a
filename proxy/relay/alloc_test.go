//go:build unix && !race

// The race detector makes sync.Pool forget things now and then.

package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// roundTrip returns a function that has a message go there and another come back,
// both of size bytes.
func roundTrip(t testing.TB, app, database io.ReadWriter, size int) func() {
	msg := make([]byte, size)
	pass := func(from io.Writer, to io.Reader) {
		if _, err := from.Write(msg); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, msg); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		pass(app, database)
		pass(database, app)
	}
}

func TestRelayAllocatesNothing(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	for _, size := range []int{1, 100, 10000} {
		if n := testing.AllocsPerRun(1000, roundTrip(t, app, database, size)); n != 0 {
			t.Errorf("%v allocations for two messages of %d bytes", n, size)
		}
	}
	_ = app.Close()
	_ = database.Close()
	<-done
}

// TestRelayOverTLSAllocatesNothing compares with TLS from end to end: crypto/tls
// allocates a reader of 32 bytes each time it waits for a record.
func TestRelayOverTLSAllocatesNothing(t *testing.T) {
	a, b := nettest.Pair(t)
	plainClient, plainServer := encrypt(t, a, b)
	app, database, done, _ := relayedOverTLS(t, nil)
	for _, size := range []int{1, 100, 10000} {
		direct := testing.AllocsPerRun(1000, roundTrip(t, plainClient, plainServer, size))
		if n := testing.AllocsPerRun(1000, roundTrip(t, app, database, size)); n > direct {
			t.Errorf("%v allocations for two messages of %d bytes, %v of them TLS's", n, size, direct)
		}
	}
	_ = app.Close()
	_ = database.Close()
	<-done
}

// TestRelayHoldsNoBufferWhileIdle looks at both kinds of source after they have
// had something to pass.
func TestRelayHoldsNoBufferWhileIdle(t *testing.T) {
	a, b := nettest.Pair(t)
	upstream, database := encrypt(t, a, b)
	client, app := nettest.Pair(t)
	for _, c := range []struct{ near, far net.Conn }{{upstream, database}, {client, app}} {
		src := newChunkReader(c.near)
		_, _ = c.far.Write(pattern(100_000))
		var chunk []byte
		for n := 0; n < 100_000; n += len(chunk) {
			var err error
			if chunk, err = src.next(nil); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.near.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := src.next(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("there is more to read, or %v", err)
		}
		held := 0
		switch src := src.(type) {
		case *plainReader:
			held = holds(src.buf)
		case *tlsReader:
			held = holds(src.out) + holds(src.below.socket.buf)
		default:
			t.Fatalf("%T always holds one", src)
		}
		if held > 0 {
			t.Errorf("%T holds %d buffers", src, held)
		}
	}
}

// TestAwaitQuietHoldsNoBuffer waits on a connection that was read from by other means than a
// relay's.
func TestAwaitQuietHoldsNoBuffer(t *testing.T) {
	a, b := nettest.Pair(t)
	upstream, database := encrypt(t, a, b)
	_, _ = database.Write([]byte("answer"))
	if _, err := io.ReadFull(upstream, make([]byte, len("answer"))); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if !AwaitQuiet(ended, upstream) {
		t.Error("it is not quiet")
	}
	if below := upstream.NetConn().(*recordConn); below.socket.buf != nil || below.pending != nil {
		t.Error("it holds a buffer")
	}
}

// TestRelayHoldsSmallStacks: Go has stacks of 2, 4, 8 KB and so on.
func TestRelayHoldsSmallStacks(t *testing.T) {
	const relays = 50
	before := stacks()
	for range relays {
		a, b := nettest.Pair(t)
		upstream, database := encrypt(t, a, b)
		client, app := nettest.Pair(t)
		done := make(chan Outcome, 1)
		Run(Leg{Conn: client}, Leg{Conn: upstream}, new(Traffic), func(o Outcome) { done <- o })
		t.Cleanup(func() { _ = app.Close(); _ = database.Close(); <-done })
		roundTrip(t, app, database, 20_000)()
	}
	if each := (stacks() - before) / relays; each > 9<<10 {
		t.Errorf("%d bytes of stacks for each relay, of two goroutines", each)
	}
}

// stacks is the size of all goroutines' stacks, in bytes, when all is at rest.
func stacks() int {
	for range 5 { // each makes a stack no less than half as large
		runtime.GC()
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

func holds(b *buffer) int {
	if b == nil {
		return 0
	}
	return 1
}

func BenchmarkRelay(b *testing.B) {
	app, database, done := relayed(b, nil, nil, nil)
	benchRoundTrip(b, app, database, 100)
	<-done
}

func BenchmarkRelayTLS(b *testing.B) {
	app, database, done, _ := relayedOverTLS(b, nil)
	benchRoundTrip(b, app, database, 100)
	<-done
}

func benchRoundTrip(b *testing.B, app, database net.Conn, size int) {
	once := roundTrip(b, app, database, size)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
	_ = app.Close()
	_ = database.Close()
}

// BenchmarkRelayTLSBulk measures answers of 1 MB.
func BenchmarkRelayTLSBulk(b *testing.B) {
	app, database, done, _ := relayedOverTLS(b, nil)
	answer := make([]byte, 1<<20)
	go func() {
		for {
			if _, err := database.Write(answer); err != nil {
				return
			}
		}
	}()
	got := make([]byte, len(answer))
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = io.ReadFull(app, got)
	}
	_ = app.Close()
	_ = database.Close()
	<-done
}
