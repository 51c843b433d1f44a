package upgrade

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lines returns both ends of a line.
func lines(t *testing.T) (a, b line) {
	t.Helper()
	c, fd, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		t.Fatal(err)
	}
	a = line{c.(*net.UnixConn)}
	if b, err = lineOf(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func TestWords(t *testing.T) {
	old, next := lines(t)
	s, n := &Successor{line: old}, &Succession{line: next}
	if err := next.say(wordReady); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitReady(t.Context()); err != nil {
		t.Error(err)
	}
	n.Failed(errors.New("no secret\nat all"))
	if err := s.AwaitReady(t.Context()); err == nil || err.Error() != "no secret\nat all" {
		t.Errorf("a failure is heard as %v", err)
	}
	n.Failed(errors.New(strings.Repeat("x", 2*maxWord)))
	if err := s.AwaitReady(t.Context()); err == nil || len(err.Error()) != maxWord-len(wordFailed) {
		t.Errorf("a long failure is heard as %v", err)
	}
	if err := next.say(wordMain); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), `it said "main", not "ready"`) {
		t.Errorf("another word is heard as %v", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("too late"))
	defer cancel()
	if err := s.AwaitReady(ctx); err == nil || err.Error() != "too late" {
		t.Errorf("silence is heard as %v", err)
	}
	_ = next.Close()
	if err := s.Accept(http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "ended when it was to accept") {
		t.Errorf("an end is noticed as %v", err)
	}
	if err := s.AwaitSettled(t.Context()); err == nil || !strings.Contains(err.Error(), "ended soon after") {
		t.Errorf("an end is heard as %v", err)
	}
	s.Close()
}

// TestQuestionsWhileSettling has the new process ask before it says that it is there to stay.
func TestQuestionsWhileSettling(t *testing.T) {
	old, next := lines(t)
	s, n := &Successor{line: old}, &Succession{line: next}
	defer s.Close()
	if err := s.Accept(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "forwarded") })); err != nil {
		t.Fatal(err)
	}
	if err := next.expect(t.Context(), wordAccept); err != nil {
		t.Fatal(err)
	}
	settled := make(chan error, 1)
	go func() { settled <- n.Settle(t.Context()) }()
	asked := &Predecessors{all: []*predecessor{newPredecessor(Origin{Number: 1, PID: 100}, next)}}
	for range 3 {
		if got := asked.Ask(t.Context(), http.MethodPost, "/cancel", nil); len(got) != 1 || string(got[0].Body) != "forwarded" {
			t.Errorf("%+v", got)
		}
	}
	if err := s.AwaitSettled(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Leave(); err != nil {
		t.Error(err)
	}
	if err := <-settled; err != nil {
		t.Error(err)
	}
}

// TestSettle has the old process say and do each thing that it can when the new one has begun to accept.
func TestSettle(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for name, test := range map[string]struct {
		ctx  context.Context
		old  func(*Successor)
		want string
	}{
		"refused at once": {t.Context(), func(s *Successor) { s.Refuse(errors.New("it is shutting down")) }, "it is shutting down"},
		"dead":            {t.Context(), func(s *Successor) { _ = s.line.Close() }, ""},
		"told to end":     {ended, func(*Successor) {}, "context canceled"},
	} {
		old, next := lines(t)
		test.old(&Successor{line: old})
		if err := (&Succession{line: next}).Settle(test.ctx); (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestAsk has a process ask two older ones, of which one ends, and a third that does not answer.
func TestAsk(t *testing.T) {
	var all Predecessors
	ctx, stop := context.WithCancel(t.Context())
	ends := make([]line, 3)
	for i := range ends {
		here, there := lines(t)
		all.all = append(all.all, newPredecessor(Origin{Number: 3 - i, PID: 100 + i}, here))
		ends[i] = there
	}
	for _, there := range ends[:2] {
		older := &Successor{line: there}
		defer older.Close()
		if err := older.Accept(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(append([]byte(r.Method+r.URL.Path+" "), body...))
		})); err != nil {
			t.Fatal(err)
		}
	}
	asking, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	answers := all.Ask(asking, http.MethodPost, "/cancel", []byte("key"))
	if len(answers) != 3 || string(answers[0].Body) != "POST/cancel key" || string(answers[1].Body) != "POST/cancel key" || answers[0].PID != 100 || answers[1].Number != 2 || answers[2].Err == nil {
		t.Errorf("%+v", answers)
	}
	asking, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got := all.Ask(asking, http.MethodPost, "/cancel", make([]byte, maxWord+1)); got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "400") {
		t.Errorf("a request that is too long: %+v", got[0])
	}
	ended := make(chan Origin, 3)
	var watching sync.WaitGroup
	watching.Go(func() { all.Watch(ctx, func(o Origin) { ended <- o }) })
	_ = ends[2].Close()
	if o := <-ended; o.PID != 102 {
		t.Errorf("%+v has ended", o)
	}
	if got := all.Present(); len(got) != 2 {
		t.Errorf("left are %+v", got)
	}
	stop()
	watching.Wait()
	var none *Predecessors
	if got := none.Ask(t.Context(), http.MethodGet, "/", nil); len(got) != 0 || none.Present() != nil {
		t.Errorf("nobody answers %+v", got)
	}
}

// TestForeignDescriptors has descriptors come by the line that are none, and too many.
func TestForeignDescriptors(t *testing.T) {
	here, there := lines(t)
	if err := here.say("connect"); err != nil { // without any
		t.Fatal(err)
	}
	ours, theirs, err := pair(unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if _, _, err := here.WriteMsgUnix([]byte(wordConnect), unix.UnixRights(theirs), nil); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(theirs)
	got, err := questions{there, nil}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := got.Read(b); err != nil || b[0] != 'x' {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzDescriptors(f *testing.F) {
	f.Add(unix.UnixRights())
	f.Add([]byte("\x14\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, rights []byte) {
		_, _ = descriptors(rights) // must not panic; what it returns is the kernel's to give
	})
}

// TestTooManyPredecessors holds that no more processes stay than may.
func TestTooManyPredecessors(t *testing.T) {
	here, _ := lines(t)
	var many Predecessors
	for i := range MaxPredecessors {
		many.all = append(many.all, newPredecessor(Origin{Number: MaxPredecessors - i, PID: 100 + i}, here))
	}
	if _, err := Start(Program{Path: "/nonexistent"}, Offer{From: Origin{Number: MaxPredecessors + 1}, Predecessors: &many}); err == nil || !strings.Contains(err.Error(), "32 older processes still have sessions") {
		t.Error(err)
	}
}

// TestTake has a process be told of sockets that are none.
func TestTake(t *testing.T) {
	if s, err := Take(); s != nil || err != nil {
		t.Errorf("started as ever: %v, %v", s, err)
	}
	for _, value := range []string{"", "x", "1", "-3", "99999999"} {
		t.Setenv(variable, value)
		if s, err := Take(); s != nil || err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%q: %v, %v", value, s, err)
		}
		if _, there := os.LookupEnv(variable); there {
			t.Errorf("%q is still in the environment", value)
		}
	}
}

// TestPossible has credproxy be started in each way. A want of "" is an upgrade.
func TestPossible(t *testing.T) {
	for name, test := range map[string]struct {
		pid, parent int
		env         map[string]string
		want        string
	}{
		"by hand":                {70, 60, nil, ""},
		"by hand, within a unit": {70, 60, map[string]string{"SYSTEMD_EXEC_PID": "50", "INVOCATION_ID": "x"}, ""},
		"notify":                 {70, 1, map[string]string{"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "70", "NOTIFY_SOCKET": "/n"}, ""},
		"the second of notify":   {71, 1, map[string]string{"INVOCATION_ID": "x", "NOTIFY_SOCKET": "/n"}, ""},
		"simple":                 {70, 1, map[string]string{"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "70"}, "Type=notify"},
		"simple, older systemd":  {70, 1, map[string]string{"INVOCATION_ID": "x"}, "Type=notify"},
		"simple, of a user":      {70, 60, map[string]string{"INVOCATION_ID": "x", "SYSTEMD_EXEC_PID": "70"}, "Type=notify"},
		"first of a container":   {1, 0, nil, "process 1 of a container"},
		"an init of a container": {7, 1, nil, "child of process 1"},
		"a shared PID namespace": {7, 0, nil, "from outside"},
	} {
		err := possible(test.pid, test.parent, func(name string) string { return test.env[name] })
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := Possible(); err != nil {
		t.Error(err)
	}
}

func TestSelf(t *testing.T) {
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("WATCHDOG_PID", "7")
	t.Setenv("WATCHDOG_USEC", "30000000")
	p := Self()
	if !filepath.IsAbs(p.Path) || !slices.Contains(p.Env, "WATCHDOG_USEC=30000000") || slices.ContainsFunc(p.Env, func(v string) bool {
		return strings.HasPrefix(v, "LISTEN_") || strings.HasPrefix(v, "WATCHDOG_PID")
	}) {
		t.Errorf("%+v", p)
	}
}
