package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/peer"
)

// serveWith runs one session of a server with access that only asks to be
// admitted, and returns what came of it.
func serveWith(access Access) (s *Server, logs *observer.ObservedLogs, run func() error) {
	core, logs := observer.New(zapcore.DebugLevel)
	var admitted error
	s = &Server{Access: access, Log: zap.New(core), Observer: nopObserver{}, Limits: Limits{MaxConnections: 10, LoginTimeout: time.Second},
		Engine: engineFunc(func(_ context.Context, s *Session) error {
			if admitted = s.Admit(); admitted == nil {
				s.LoggedIn()
			}
			return admitted
		})}
	return s, logs, func() error {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		s.start(context.Background(), b)
		s.Wait()
		return admitted
	}
}

func is(uid uint32) func(net.Conn) (uint32, error) {
	return func(net.Conn) (uint32, error) { return uid, nil }
}

func TestAccess(t *testing.T) {
	only := map[uint32]string{1000: "app", 1001: ""}
	unknown := func(err error) func(net.Conn) (uint32, error) {
		return func(net.Conn) (uint32, error) { return 0, err }
	}
	for name, tc := range map[string]struct {
		access Access
		kind   fault.Kind // of the refusal
		error  string
		field  any // peer_uid in the log
		user   any
	}{
		"everybody":              {Access{Owner: is(7)}, "", "", uint32(7), nil},
		"everybody, unknown":     {Access{Owner: unknown(errors.New("no netlink"))}, "", "", nil, nil},
		"everybody, nobody asks": {Access{}, "", "", nil, nil},
		"named":                  {Access{is(1000), only}, "", "", uint32(1000), "app"},
		"numbered":               {Access{is(1001), only}, "", "", uint32(1001), nil},
		"another":                {Access{is(1002), only}, fault.NotAllowed, "the user with id 1002", uint32(1002), nil},
		"root is another too":    {Access{is(0), only}, fault.NotAllowed, "the user with id 0", uint32(0), nil},
		"unknown":                {Access{unknown(errors.New("no netlink")), only}, fault.NotAllowed, "who connects is not known: no netlink", nil, nil},
		"unknown, root allowed":  {Access{unknown(errors.New("no netlink")), map[uint32]string{0: "root"}}, fault.NotAllowed, "not known", nil, nil},
		"nobody to ask":          {Access{UIDs: only}, fault.NotAllowed, "not known", nil, nil},
		"gone":                   {Access{unknown(peer.ErrGone), only}, fault.ClientGone, "left", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, logs, run := serveWith(tc.access)
			err := run()
			var kind fault.Kind
			if err != nil {
				kind = fault.As(err).Kind
			}
			if kind != tc.kind || err != nil && !strings.Contains(err.Error(), tc.error) {
				t.Errorf("%q: %v", kind, err)
			}
			line := logs.All()[0].ContextMap()
			if line["peer_uid"] != tc.field || line["peer_user"] != tc.user {
				t.Errorf("the log says %v", line)
			}
		})
	}
}

// TestWhoIsLookedUp has a client be looked up only where access or the log asks who it is.
func TestWhoIsLookedUp(t *testing.T) {
	for name, tc := range map[string]struct {
		level zapcore.Level
		uids  map[uint32]string
		want  int
	}{
		"for the log":    {zapcore.InfoLevel, nil, 1},
		"for access":     {zapcore.WarnLevel, map[uint32]string{7: ""}, 1},
		"for nobody":     {zapcore.WarnLevel, nil, 0},
		"for a refusal":  {zapcore.WarnLevel, map[uint32]string{1000: ""}, 1},
		"for everything": {zapcore.DebugLevel, map[uint32]string{7: ""}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server, logs, run := serveWith(Access{UIDs: tc.uids, Owner: func(net.Conn) (uint32, error) { asked++; return 7, nil }})
			server.Log = server.Log.WithOptions(zap.IncreaseLevel(tc.level))
			_ = run()
			if asked != tc.want {
				t.Errorf("asked %d times, the log has %d lines", asked, logs.Len())
			}
			for _, line := range logs.All() {
				if line.ContextMap()["peer_uid"] != uint32(7) {
					t.Errorf("the log says %v", line.ContextMap())
				}
			}
		})
	}
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, logs, run := serveWith(Access{is(7), map[uint32]string{1000: ""}})
		for range 500 {
			if err := run(); fault.As(err).Kind != fault.NotAllowed {
				t.Fatal(err)
			}
		}
		if n := logs.Len(); n != logging.PaceLines {
			t.Errorf("%d lines of 500 refusals at once", n)
		}
		time.Sleep(time.Second)
		_ = run()
		last := logs.All()[logs.Len()-1].ContextMap()
		if logs.Len() != logging.PaceLines+1 || last["lines_left_out"] != int64(500-logging.PaceLines) {
			t.Errorf("%d lines, the last says %v", logs.Len(), last)
		}
	})
}
