package relay

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
)

// encrypt starts TLS between two ends.
func encrypt(t testing.TB, client, server net.Conn) (upstream, database *tls.Conn) {
	t.Helper()
	cert := nettest.Certificate(t, "db.example")
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	database = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
	done := make(chan error, 1)
	go func() { done <- database.Handshake() }()
	upstream = tls.Client(NewRecordConn(client, nil), &tls.Config{RootCAs: roots, ServerName: "db.example", DynamicRecordSizingDisabled: true})
	err := upstream.HandshakeContext(t.Context())
	if err == nil {
		err = <-done
	}
	if err != nil {
		t.Fatal(err)
	}
	return upstream, database
}

// relayedOverTLS is relayed with TLS to the database.
func relayedOverTLS(t testing.TB, scan func([]byte) (int, bool)) (app net.Conn, database *tls.Conn, done <-chan Outcome, total *Traffic) {
	t.Helper()
	app, client := nettest.Pair(t)
	a, b := nettest.Pair(t)
	upstream, database := encrypt(t, a, b)
	out := make(chan Outcome, 1)
	total = new(Traffic)
	go func() {
		out <- relayNow(Leg{Conn: client, Scan: scan}, Leg{Conn: upstream}, total)
		_ = client.Close()
		_ = upstream.Close()
	}()
	return app, database, out, total
}

// pattern makes n bytes of which no piece is like another.
func pattern(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.Bytes()[:n]
}

func TestRelayOverTLSBothWaysWithHalfClose(t *testing.T) {
	app, database, done, total := relayedOverTLS(t, nil)
	there, back := pattern(3<<20), pattern(2<<20)
	go func() {
		_, _ = app.Write(there)
		_ = app.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(database); err != nil || !bytes.Equal(got, there) {
		t.Errorf("the database got %d bytes, %v", len(got), err)
	}
	go func() { // records of all sizes, and the end in order
		for rest := back; len(rest) > 0; {
			n := min(1+len(rest)%20000, len(rest))
			_, _ = database.Write(rest[:n])
			rest = rest[n:]
		}
		_ = database.Close()
	}()
	if got, err := io.ReadAll(app); err != nil || !bytes.Equal(got, back) {
		t.Errorf("the application got %d bytes, %v", len(got), err)
	}
	out := <-done
	if out.Err != nil || out.ToUpstream != int64(len(there)) || out.ToClient != int64(len(back)) ||
		total.ToUpstream.Load() != out.ToUpstream || total.ToClient.Load() != out.ToClient {
		t.Errorf("outcome %+v, total %d and %d", out, total.ToUpstream.Load(), total.ToClient.Load())
	}
}

// TestClientsEndIsNoRecord: a server would take a close_notify that it has not read for a
// sign of life of the client.
func TestClientsEndIsNoRecord(t *testing.T) {
	app, database, done, _ := relayedOverTLS(t, nil)
	if _, err := app.Write([]byte("statement")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(database, make([]byte, len("statement"))); err != nil {
		t.Fatal(err)
	}
	_ = app.Close()
	if rest, err := io.ReadAll(database.NetConn()); err != nil || len(rest) > 0 {
		t.Errorf("after the client's end the server gets %d bytes, %v", len(rest), err)
	}
	_ = database.Close()
	<-done
}

// slowly is a connection that writes a few bytes at a time, so that records of TLS
// arrive in pieces and pieces hold more than one.
type slowly struct {
	net.Conn
	piece int
	begun atomic.Bool // before, everything goes at once
}

func (s *slowly) Write(b []byte) (n int, err error) {
	if !s.begun.Load() {
		return s.Conn.Write(b)
	}
	for len(b) > 0 && err == nil {
		var w int
		w, err = s.Conn.Write(b[:min(s.piece, len(b))])
		n, b = n+w, b[w:]
		time.Sleep(50 * time.Microsecond)
	}
	return n, err
}

func TestRelayOverTLSWaitsForRecordsInPieces(t *testing.T) {
	for _, piece := range []int{1, 4, 7, 1000} {
		a, b := nettest.Pair(t)
		app, client := nettest.Pair(t)
		wire := &slowly{Conn: b, piece: piece}
		upstream, database := encrypt(t, a, wire)
		wire.begun.Store(true)
		done := make(chan Outcome, 1)
		go func() { done <- relayNow(Leg{Conn: client}, Leg{Conn: upstream}, new(Traffic)); _ = client.Close() }()
		want := pattern(600 * piece)
		go func() {
			for rest := want; len(rest) > 0; rest = rest[min(len(rest), 173):] {
				_, _ = database.Write(rest[:min(len(rest), 173)])
			}
			_ = database.Close()
		}()
		if got, err := io.ReadAll(app); err != nil || !bytes.Equal(got, want) {
			t.Errorf("pieces of %d: got %d bytes of %d, %v", piece, len(got), len(want), err)
		}
		_ = app.Close()
		if out := <-done; out.Err != nil {
			t.Errorf("pieces of %d: %+v", piece, out)
		}
	}
}

func TestRelayOverTLSTellsADatabaseThatIsCutOff(t *testing.T) {
	app, database, done, _ := relayedOverTLS(t, nil)
	_, _ = io.WriteString(database, "last words")
	_ = database.NetConn().Close() // without close_notify, as when a server is killed
	if got, err := io.ReadAll(app); err != nil || string(got) != "last words" {
		t.Errorf("the application got %q, %v", got, err)
	}
	_ = app.Close()
	<-done
}

func TestRelayOverTLSRefusesWhatIsNoRecord(t *testing.T) {
	app, database, done, _ := relayedOverTLS(t, nil)
	_, _ = database.NetConn().Write(bytes.Repeat([]byte("not TLS, "), 20000))
	_, _ = io.ReadAll(app)
	_ = app.Close()
	if out := <-done; out.Err == nil || !strings.Contains(out.Err.Error(), "connection to the database lost: tls: ") {
		t.Errorf("outcome %+v", out)
	}
}

// TestRelayOverTLSStopsAndGoesOn stops the relay in the middle of what the
// database sends; all of it must arrive nevertheless.
func TestRelayOverTLSStopsAndGoesOn(t *testing.T) {
	scan := func(b []byte) (int, bool) {
		i := bytes.IndexByte(b, '!')
		return max(i, 0), i >= 0
	}
	app, client := nettest.Pair(t)
	a, b := nettest.Pair(t)
	upstream, database := encrypt(t, a, b)
	var want, got []byte
	enough, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		pieces := pattern(1 << 20)
		for i := 0; ; i++ {
			piece := pieces[i*777%(1<<19):][:777]
			select {
			case <-enough:
				_ = database.Close()
				return
			case <-time.After(50 * time.Microsecond): // so that waits are interrupted too
				want = append(want, piece...)
				_, _ = database.Write(piece)
			}
		}
	}()
	receive := func(n int) {
		piece := make([]byte, n)
		if _, err := io.ReadFull(app, piece); err != nil {
			t.Fatal(err)
		}
		got = append(got, piece...)
	}
	for range 20 {
		done := make(chan Outcome, 1)
		go func() { done <- relayNow(Leg{Conn: client, Scan: scan}, Leg{Conn: upstream}, new(Traffic)) }()
		receive(5000)
		_, _ = app.Write([]byte("!"))
		out := <-done
		if string(out.Withheld) != "!" || out.Err != nil {
			t.Fatalf("outcome %+v", out)
		}
		receive(int(out.ToClient) - 5000)
		// Between relays the connection is one like any other.
		piece := make([]byte, 1000)
		if _, err := io.ReadFull(upstream, piece); err != nil {
			t.Fatal(err)
		}
		got = append(got, piece...)
	}
	close(enough)
	go func() {
		relayNow(Leg{Conn: client}, Leg{Conn: upstream}, new(Traffic))
		_ = client.Close()
	}()
	rest, err := io.ReadAll(app)
	<-sent
	if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the application got %d bytes of %d, %v", len(got), len(want), err)
	}
	_ = app.Close()
}

// TestRecordConnBeginsWithWhatWasReadAhead starts TLS with a client whose first
// bytes have been read, and relays it.
func TestRecordConnBeginsWithWhatWasReadAhead(t *testing.T) {
	a, b := nettest.Pair(t)
	cert := nettest.Certificate(t, "proxy.example")
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	app := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "proxy.example"})
	go func() { _, _ = app.Write([]byte("hello")) }()
	ahead := make([]byte, 3)
	if _, err := io.ReadFull(b, ahead); err != nil {
		t.Fatal(err)
	}
	client := tls.Server(NewRecordConn(b, ahead), &tls.Config{Certificates: []tls.Certificate{cert}})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	upstream, database := nettest.Pair(t)
	done := make(chan Outcome, 1)
	go func() { done <- relayNow(Leg{Conn: client}, Leg{Conn: upstream}, new(Traffic)) }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(database, got); err != nil || string(got) != "hello" {
		t.Errorf("the database got %q, %v", got, err)
	}
	_ = app.Close()
	if rest, err := io.ReadAll(database); err != nil || len(rest) > 0 {
		t.Errorf("the end of the client came as %q, %v", rest, err)
	}
	_ = database.Close()
	if out := <-done; out.Err != nil {
		t.Errorf("outcome %+v", out)
	}
}

// FuzzRecordConn holds that what crypto/tls gets is what has come, whatever that is
// and however much it asks for at a time.
func FuzzRecordConn(f *testing.F) {
	f.Add([]byte("\x16\x03\x01\x00\x02ab\x17\x03\x03\x00\x01c"), 2, 5, true)
	f.Add(bytes.Repeat([]byte{0xff}, 70000), 0, 517, true)
	f.Add([]byte{23, 3, 3}, 1, 1, false)
	f.Fuzz(func(t *testing.T, sent []byte, ahead, ask int, relayed bool) {
		if len(sent) > 1<<18 || ask < 1 || ask > 1<<16 {
			return
		}
		a, b := nettest.Pair(t)
		ahead = min(max(ahead, 0), len(sent), maxRest)
		go func() {
			_, _ = a.Write(sent[ahead:])
			_ = a.Close()
		}()
		below := NewRecordConn(b, sent[:ahead]).(*recordConn)
		below.relayed = relayed
		var got []byte
		for p := make([]byte, ask); ; {
			n, err := below.Read(p)
			got = append(got, p[:n]...)
			if err == errNotYet {
				err = below.await()
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes came of %d", len(got), len(sent))
		}
	})
}
