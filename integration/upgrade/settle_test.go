package upgrade_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// settling begins an upgrade and returns when the new process has accepted a session but may still be
// refused. The channel gets what the command says in the end.
func (s *stand) settling() (said <-chan string, session *pgx.Conn) {
	s.t.Helper()
	ofOld := func() float64 {
		n, err := s.proxy.Metric("credproxy_connections_active", `database="pg"`)
		must(s.t, err)
		return n
	}
	before := ofOld()
	answer := make(chan string, 1)
	go func() {
		text, status := s.ask("upgrade")
		answer <- fmt.Sprint(status, " ", text)
	}()
	await(s.t, "session of the new process", func() bool {
		session = s.connect()
		if ofOld() == before {
			return true
		}
		must(s.t, session.Close(s.t.Context()))
		await(s.t, "end of a session", func() bool { return ofOld() == before })
		return false
	})
	for _, pid := range s.alive() {
		if pid != s.pids[0] {
			s.pids = append(s.pids, pid)
		}
	}
	return answer, session
}

// TestCancelWhileSettling has cancel requests come to a new process that is not there to stay yet: for
// a query of the old one's, and with a key of nobody's.
func TestCancelWhileSettling(t *testing.T) {
	s := newStand(t)
	old := s.connect()
	s.install("v1.1.0")
	said, session := s.settling()
	for range 3 {
		s.cancelUnknown()
	}
	s.cancels(old)
	if got := <-said; !strings.HasPrefix(got, "0 process") {
		t.Error(got)
	}
	must(t, old.Ping(t.Context()))
	must(t, session.Ping(t.Context()))
}

// cancelUnknown sends a cancel request with a key of nobody's, and waits until it has been dealt with.
func (s *stand) cancelUnknown() {
	s.t.Helper()
	c, err := net.Dial("tcp", s.proxy.Addr(s.t, "pg"))
	must(s.t, err)
	defer c.Close()
	var b []byte
	for _, field := range []uint32{16, 80877102, 4711, 4712} { // length, CancelRequest, process, key
		b = binary.BigEndian.AppendUint32(b, field)
	}
	_, err = c.Write(b)
	must(s.t, err)
	must(s.t, c.SetReadDeadline(time.Now().Add(30*time.Second)))
	if n, err := c.Read(b); n != 0 || errors.Is(err, net.ErrClosed) || err == nil {
		s.t.Errorf("a cancel request is answered with %d bytes, %v", n, err)
	}
}

// TestStopWhileSettling has both processes be told to end while nobody has decided which serves: the
// sessions of both have the time of a drain, and hear of its end.
func TestStopWhileSettling(t *testing.T) {
	s := newStand(t, "shutdown: {drain_timeout: 5s}") // longer than a process without clients may take
	old := s.connect()
	s.install("v1.1.0")
	said, session := s.settling()
	for _, pid := range s.pids {
		must(t, syscall.Kill(pid, syscall.SIGTERM))
	}
	if got := <-said; !strings.HasPrefix(got, "1 ") || !strings.Contains(got, "shutting down") {
		t.Error(got)
	}
	for name, c := range map[string]*pgx.Conn{"old": old, "new": session} {
		var err error
		await(t, "end of a session", func() bool { _, err = c.Exec(t.Context(), "SELECT 1"); return err != nil })
		if failed, ok := errors.AsType[*pgconn.PgError](err); !ok || failed.Code != "57P01" {
			t.Errorf("the session of the %s process ends with %v", name, err)
		}
	}
	await(t, "end of both", func() bool { return len(s.alive()) == 0 })
	reap(t, s.pids[1]) // 1 if it heard of the other's end first
	if log := s.proxy.Log(); strings.Contains(log, "this process serves now") || strings.Contains(log, "goes on as before") {
		t.Error("a process says that it serves while both end")
	}
}

// TestNewProcessGivesUp has the new process be told to end after it has accepted: the old one
// accepts again at once, and sessions of both go on.
func TestNewProcessGivesUp(t *testing.T) {
	s := newStand(t)
	old := s.connect()
	s.install("v1.1.0")
	said, session := s.settling()
	must(t, syscall.Kill(s.pids[1], syscall.SIGTERM))
	if got := <-said; !strings.HasPrefix(got, "1 ") || !strings.Contains(got, "it was told to end") {
		t.Error(got)
	}
	again := s.connect()
	for _, c := range []*pgx.Conn{old, session, again} {
		must(t, c.Ping(t.Context()))
	}
	if st := s.status(); st.PID != s.pids[0] || len(st.Predecessors) > 0 {
		t.Errorf("%+v", st)
	}
	must(t, session.Close(t.Context()))
	await(t, "end of the new process", func() bool { return len(s.alive()) == 1 })
	if strings.Contains(s.proxy.Log(), "this process serves now") {
		t.Error("the new process says that it serves")
	}
	s.unchanged(t)
}
