package relay

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// relayNow relays until both directions have ended.
func relayNow(client, upstream Leg, total *Traffic) Outcome {
	out := make(chan Outcome)
	Run(client, upstream, total, func(o Outcome) { out <- o })
	return <-out
}

// relayed returns an application and a database with a relay between them.
func relayed(t testing.TB, fromClient, fromDatabase []byte, scan func([]byte) (int, bool)) (app, database net.Conn, done <-chan Outcome) {
	app, client := nettest.Pair(t)
	upstream, database := nettest.Pair(t)
	out := make(chan Outcome, 1)
	go func() {
		var total Traffic
		out <- relayNow(Leg{Conn: client, Buffered: fromClient, Scan: scan}, Leg{Conn: upstream, Buffered: fromDatabase}, &total)
		_ = client.Close()
		_ = upstream.Close()
	}()
	return app, database, out
}

func TestRelayBothWaysWithHalfClose(t *testing.T) {
	app, database, done := relayed(t, []byte("early "), []byte("hello "), nil)
	big := bytes.Repeat([]byte("x"), 1<<20)
	go func() {
		_, _ = app.Write(big)
		_ = app.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(database); err != nil || string(got) != "early "+string(big) {
		t.Errorf("the database got %d bytes, %v", len(got), err)
	}
	// The application has ended its side; the answer still gets through.
	_, _ = database.Write(big)
	_ = database.Close()
	if got, err := io.ReadAll(app); err != nil || string(got) != "hello "+string(big) {
		t.Errorf("the application got %d bytes, %v", len(got), err)
	}
	out := <-done
	if out.Err != nil || out.ToUpstream != int64(len(big)+6) || out.ToClient != int64(len(big)+6) {
		t.Errorf("outcome %+v", out)
	}
}

func TestRelayStopsWhereScanSays(t *testing.T) {
	// Everything up to an exclamation mark passes, but never a byte alone at the
	// end, which is shown again with what follows.
	scan := func(b []byte) (int, bool) {
		if i := bytes.IndexByte(b, '!'); i >= 0 {
			return i, true
		}
		return max(0, len(b)-1), false
	}
	app, client := nettest.Pair(t)
	upstream, database := nettest.Pair(t)
	var total Traffic
	for range 3 {
		out := make(chan Outcome, 1)
		go func() {
			out <- relayNow(Leg{Conn: client, Scan: scan}, Leg{Conn: upstream}, &total)
		}()
		for _, b := range []byte("hello") {
			_, _ = app.Write([]byte{b})
		}
		_, _ = app.Write([]byte(" there! held"))
		got := make([]byte, len("hello there"))
		if _, err := io.ReadFull(database, got); err != nil || string(got) != "hello there" {
			t.Fatalf("the database got %q, %v", got, err)
		}
		if o := <-out; string(o.Withheld) != "! held" || o.Err != nil {
			t.Fatalf("outcome %+v, held %q", o, o.Withheld)
		}
		// Both connections still work.
		_, _ = io.WriteString(database, "answer")
		got = make([]byte, 6)
		if _, err := io.ReadFull(upstream, got); err != nil || string(got) != "answer" {
			t.Fatalf("answer %q, %v", got, err)
		}
	}
}

func TestRelayEndsWhenTheClientIsReset(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_ = app.(*net.TCPConn).SetLinger(0)
	_ = app.Close()
	out := <-done
	if out.Err == nil || !strings.Contains(out.Err.Error(), "connection to the client lost") {
		t.Errorf("outcome %+v", out)
	}
	if _, err := database.Read(make([]byte, 1)); err == nil {
		t.Error("the database's connection is still open")
	}
}

func TestRelayEndsWhenTheDatabaseCloses(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_, _ = io.WriteString(database, "goodbye")
	_ = database.Close()
	if got, err := io.ReadAll(app); err != nil || string(got) != "goodbye" {
		t.Errorf("the application got %q, %v", got, err)
	}
	_ = app.Close() // within the linger time
	if out := <-done; out.Err != nil {
		t.Errorf("outcome %+v", out)
	}
}

func TestRelayEndsWhenTheDatabaseStopsReadingAndSending(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	go func() { // until the buffers are full and the copier waits for the database
		for {
			if _, err := app.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	_ = database.(*net.TCPConn).CloseWrite()
	_, _ = io.ReadAll(app)
	_ = app.Close()
	select {
	case <-done:
	case <-time.After(4 * lingerTimeout):
		t.Error("the relay hangs")
	}
}

func TestRelayTellsALostDatabase(t *testing.T) {
	app, database, done := relayed(t, nil, nil, nil)
	_ = database.(*net.TCPConn).SetLinger(0)
	_ = database.Close()
	_, _ = io.ReadAll(app)
	_ = app.Close()
	if out := <-done; out.Err == nil || !strings.Contains(out.Err.Error(), "connection to the database lost") {
		t.Errorf("outcome %+v", out)
	}
}
