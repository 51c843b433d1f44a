package pool_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestCutShort has clients die within what they say, at every byte of it: their sessions are
// closed.
func TestCutShort(t *testing.T) {
	o := newOracle(t, 18)
	query := encode(&pgproto3.Query{String: "SELECT 1"})
	pipeline := encode(parse("", "SELECT 1"), bind, execute, syncNow)
	for name, said := range map[string][]byte{"Query": query, "pipeline": pipeline} {
		said = append(said, encode(terminate)...)
		for n := 1; n < len(said); n++ {
			for _, how := range []string{"close", "half-close"} {
				d := deed{closed: true, away: true, params: []pair{{"application_name", fmt.Sprint(name, n, how)}}}
				d.do = func(t *testing.T, a *raw) {
					a.write(said[:n])
					if how == "close" {
						_ = a.conn.Close()
						return
					}
					must(t, a.conn.(*net.TCPConn).CloseWrite())
					a.gone()
				}
				o.try(t, d)
			}
		}
	}
	// After an answer, within its good-bye.
	for n := range 5 {
		o.try(t, deed{closed: true, away: true, params: []pair{{"application_name", fmt.Sprint("good-bye ", n)}}, do: func(_ *testing.T, a *raw) {
			a.one("SELECT 1")
			a.write(encode(terminate)[:n])
			_ = a.conn.Close()
		}})
	}
}

// TestEarly has clients say something before they hear that they are logged in.
func TestEarly(t *testing.T) {
	o := newOracle(t, 18)
	query := encode(&pgproto3.Query{String: "SELECT 1"})
	for i, early := range [][]byte{query, encode(terminate), append(query, encode(terminate)...), query[:7], {'X'}} {
		packet := o.packets.of(pair{"application_name", fmt.Sprint("early ", i)})
		kept := connectRaw(t, o.addrs["pooled"], packet)
		kept.leave()
		o.settle(t, "pooled")
		a := dialRaw(t, o.addrs["pooled"], append(packet[:len(packet):len(packet)], early...))
		if a.ready(); a.pid() != kept.pid() {
			t.Errorf("%q: the session that is kept is not used", early)
		}
		switch i {
		case 0:
			a.ready()
			a.leave()
		case 1, 2:
			_, _ = io.Copy(io.Discard, a.conn)
		default:
			_ = a.conn.Close()
		}
		o.settle(t, "pooled")
		b := connectRaw(t, o.addrs["pooled"], packet)
		if b.pid() == a.pid() {
			t.Errorf("%q: the session is used again", early)
		}
		b.leave()
		o.settle(t, "pooled")
	}
}

// TestNobodyIsLeftBehind counts the server's sessions after clients that left in every way.
func TestNobodyIsLeftBehind(t *testing.T) {
	o := newOracle(t, 18)
	packet := o.packets.of()
	for range 10 {
		for _, end := range []func(a *raw){(*raw).leave, (*raw).reset, func(a *raw) { a.write([]byte{'Q', 0}); _ = a.conn.Close() }, func(a *raw) {
			a.send(&pgproto3.Query{String: "SELECT pg_sleep(0.05)"}, terminate)
			a.gone()
		}} {
			end(connectRaw(t, o.addrs["pooled"], packet))
		}
	}
	super, err := o.pg.Superuser(t.Context())
	must(t, err)
	defer super.Close(t.Context())
	sidecar.Await(t, "end of all sessions but one", func() bool {
		return ask(t, super, "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'app' AND application_name = ''") <= "1"
	})
	if n := o.metric(t, "idle", `database="pooled"`); n > 1 {
		t.Errorf("%d are kept", n)
	}
}
