package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// raw is a client that says what it is told to, and nothing else. It fails its test when
// the server is silent for 20 s.
type raw struct {
	t        testing.TB
	conn     net.Conn
	fe       *pgproto3.Frontend
	statuses []string // name=value, in the order of the server's reports
	notices  []string
	key      *pgproto3.BackendKeyData
}

// pair is the name and the value of a parameter of the startup packet.
type pair [2]string

// startup encodes a startup packet.
func startup(params ...pair) []byte {
	m := pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "anybody", "database": "postgres"}}
	for _, p := range params {
		m.Parameters[p[0]] = p[1]
	}
	b, err := m.Encode(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// packets holds startup packets by what they say: the order of a map is not always the same.
type packets map[string][]byte

func (p packets) of(params ...pair) []byte {
	name := fmt.Sprint(params)
	if p[name] == nil {
		p[name] = startup(params...)
	}
	return p[name]
}

// dialRaw connects and sends first, which begins with a startup packet.
func dialRaw(t testing.TB, addr string, first []byte) *raw {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	r := &raw{t: t, conn: conn, fe: pgproto3.NewFrontend(conn, conn)}
	r.write(first)
	return r
}

// connectRaw logs in.
func connectRaw(t testing.TB, addr string, packet []byte) *raw {
	t.Helper()
	r := dialRaw(t, addr, packet)
	if code := r.ready(); code != "" {
		t.Fatalf("login: %s", code)
	}
	return r
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// send sends messages at once.
func (r *raw) send(messages ...pgproto3.FrontendMessage) {
	r.t.Helper()
	r.write(encode(messages...))
}

func encode(messages ...pgproto3.FrontendMessage) (b []byte) {
	for _, m := range messages {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

// next returns the next message that is no notice and no report of a parameter.
func (r *raw) next() (pgproto3.BackendMessage, error) {
	for {
		m, err := r.fe.Receive()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			r.statuses = append(r.statuses, m.Name+"="+m.Value)
		case *pgproto3.NoticeResponse:
			r.notices = append(r.notices, m.Code)
		case *pgproto3.BackendKeyData:
			key := *m
			key.SecretKey = append([]byte{}, m.SecretKey...)
			r.key = &key
		default:
			return m, nil
		}
	}
}

// awaitMessage reads up to a message of that kind, and returns the code of an error on the way.
func awaitMessage[M pgproto3.BackendMessage](r *raw) (code string) {
	r.t.Helper()
	for {
		m, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for %T: %v", *new(M), err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok && code == "" {
			code = e.Code
		}
		if _, ok := m.(M); ok {
			return code
		}
	}
}

// ready reads up to ReadyForQuery.
func (r *raw) ready() (code string) {
	r.t.Helper()
	return awaitMessage[*pgproto3.ReadyForQuery](r)
}

// query runs one Query message, and returns its rows, values separated by |.
func (r *raw) query(sql string) (rows []string, code string) {
	r.t.Helper()
	r.send(&pgproto3.Query{String: sql})
	return r.answer()
}

// answer reads the answer to a Query message.
func (r *raw) answer() (rows []string, code string) {
	r.t.Helper()
	for {
		m, err := r.next()
		if err != nil {
			r.t.Fatalf("waiting for an answer: %v", err)
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			var values []string
			for _, v := range m.Values {
				if v == nil {
					v = []byte("NULL")
				}
				values = append(values, string(v))
			}
			rows = append(rows, strings.Join(values, "|"))
		case *pgproto3.ErrorResponse:
			code = m.Code
		case *pgproto3.CopyInResponse:
			r.send(&pgproto3.CopyFail{Message: "not now"})
		case *pgproto3.ReadyForQuery:
			return rows, code
		}
	}
}

// one returns the only row.
func (r *raw) one(sql string) string {
	r.t.Helper()
	rows, code := r.query(sql)
	if code != "" || len(rows) != 1 {
		r.t.Fatalf("%s: %d rows, %s", sql, len(rows), code)
	}
	return rows[0]
}

func (r *raw) pid() uint32 { return r.key.ProcessID }

// leave says good-bye, and waits until it was heard.
func (r *raw) leave() {
	r.t.Helper()
	r.send(&pgproto3.Terminate{})
	r.gone()
}

// gone waits until the other side has closed, and closes.
func (r *raw) gone() {
	_, _ = io.Copy(io.Discard, r.conn)
	_ = r.conn.Close()
}

// reset closes the connection as the system does for who has crashed: with a RST.
func (r *raw) reset() {
	_ = r.conn.(*net.TCPConn).SetLinger(0)
	_ = r.conn.Close()
}

// cancel sends a cancel request and waits until it is over. It must not be refused.
func cancel(ctx context.Context, addr string, key *pgproto3.BackendKeyData) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return cancelOver(conn, key)
}

// cancelOver does that over a connection that is there, and closes it.
func cancelOver(conn net.Conn, key *pgproto3.BackendKeyData) error {
	defer conn.Close()
	b, err := (&pgproto3.CancelRequest{ProcessID: key.ProcessID, SecretKey: key.SecretKey}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
