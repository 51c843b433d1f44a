package probe

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// world is a secret, and a database that takes some of its versions.
type world struct {
	mu      sync.Mutex
	current string // under AWSCURRENT
	others  map[secrets.Stage]string
	takes   map[string]bool
	down    error // instead of any answer
	write   error // to more than SELECT 1
	session error // once the credential is taken
	asked   int

	takesTime time.Duration // each answer
	results   map[string]int
}

func (w *world) Kind() string { return "test" }

func (w *world) Fetch(_ context.Context, stage secrets.Stage) (*secrets.Credential, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	version := w.others[stage]
	if stage == secrets.Current {
		version = w.current
	}
	if version == "" {
		return nil, secrets.Errorf(secrets.NoVersion, "nothing is labelled %s", stage)
	}
	c := secrets.NewCredential("app", "password of "+version)
	c.VersionID = version
	return c, nil
}

func (w *world) Query(_ context.Context, cred *secrets.Credential, _ string, statements ...string) ([][]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if d := w.takesTime; d > 0 {
		w.mu.Unlock()
		time.Sleep(d)
		w.mu.Lock()
	}
	switch {
	case w.down != nil:
		return nil, w.down
	case !w.takes[cred.VersionID]:
		return nil, secrets.MarkRejected(&fault.Error{Kind: fault.CredentialRejected, Message: "the database refused the credential"})
	case w.session != nil:
		return nil, w.session
	case len(statements) > 1 && w.write != nil:
		return nil, w.write
	}
	return [][]string{{"1"}}, nil
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// did tells how many probes came to what since the last time.
func (w *world) did(t *testing.T, want map[string]int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !maps.Equal(w.results, want) {
		t.Errorf("probes: %v, want %v", w.results, want)
	}
	w.results = map[string]int{}
}

// status is what the status page shows of the last probe.
type status struct {
	OK               bool
	VersionID, Error string
}

func statusOf(p *Prober) status {
	last, ok := p.Last()
	if !ok {
		return status{}
	}
	s := status{OK: last.Err == nil}
	if last.Credential != nil {
		s.VersionID = last.Credential.VersionID
	}
	if last.Err != nil {
		s.Error = last.Err.Told()
	}
	return s
}

// probing runs f in virtual time beside a prober.
func probing(t *testing.T, cfg config.Probe, f func(t *testing.T, w *world, p *Prober, logs *observer.ObservedLogs)) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		w := &world{current: "v1", takes: map[string]bool{"v1": true}, results: map[string]int{}}
		db := &config.Database{Engine: config.Postgres, Probe: cfg, Limits: config.Limits{LoginTimeout: time.Minute}}
		p := New(db, zap.New(core), func(result string, reached, ok bool) {
			w.set(func() { w.results[result]++ })
			if ok != (result == "ok") {
				t.Errorf("%s is said to be fine: %v", result, ok)
			}
		})
		cache := secrets.New(w, secrets.Options{Grace: 90 * time.Second, Notify: p.Event})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { cache.Run(ctx) })
		running.Go(func() { p.Run(ctx, cache) })
		defer func() { cancel(); running.Wait(); cache.Close() }()
		synctest.Wait()
		w.did(t, map[string]int{}) // it is not known yet what the database speaks
		if why := p.Unproven(); !strings.Contains(why, "has not accepted the credential yet") || statusOf(p) != (status{}) {
			t.Errorf("before the first probe: %q, %+v", why, statusOf(p))
		}
		p.SetEngine(w)
		f(t, w, p, logs)
	})
}

func TestProbesProveEachNewVersion(t *testing.T) {
	probing(t, config.Probe{}, func(t *testing.T, w *world, p *Prober, logs *observer.ObservedLogs) {
		time.Sleep(24 * time.Hour)
		w.did(t, map[string]int{"ok": 1})
		if s := statusOf(p); !s.OK || s.VersionID != "v1" || s.Error != "" || p.Unproven() != "" {
			t.Errorf("after the first: %+v", s)
		}
		w.set(func() { w.current, w.takes["v2"] = "v2", true })
		time.Sleep(2 * time.Hour) // a refresh
		w.did(t, map[string]int{"ok": 1})
		if s := statusOf(p); !s.OK || s.VersionID != "v2" {
			t.Errorf("after the rotation: %+v", s)
		}
		if n := logs.FilterMessage("probe succeeded").Len(); n != 2 {
			t.Errorf("%d lines, want one for each version", n)
		}
		w.set(func() { w.current = "v3" }) // which the database does not know
		time.Sleep(2 * time.Hour)
		w.mu.Lock()
		if n := w.results[probeOtherVersion]; len(w.results) != 1 || n < 40 || n > 160 {
			t.Errorf("probes while the database does not know the new version: %v", w.results)
		}
		w.results = map[string]int{}
		w.takes["v3"], w.takes["v2"] = true, false
		w.mu.Unlock()
		if s := statusOf(p); s.OK || s.VersionID != "v2" || p.Unproven() != "" {
			t.Errorf("with a version that the database does not know: %+v", s)
		}
		if n := logs.FilterMessage("probe failed").Len(); n != 1 {
			t.Errorf("%d lines about it, want 1", n)
		}
		time.Sleep(probeAgainAccepted * 5 / 4)
		w.did(t, map[string]int{"ok": 1})
	})
}

func TestProbesWaitForTheDatabase(t *testing.T) {
	probing(t, config.Probe{Interval: time.Hour}, func(t *testing.T, w *world, p *Prober, logs *observer.ObservedLogs) {
		synctest.Wait()
		w.did(t, map[string]int{"ok": 1})
		w.set(func() {
			w.down = &fault.Error{Kind: fault.Unreachable, Message: "the database refuses connections", Hint: "Is it running?"}
		})
		time.Sleep(3 * time.Hour)
		w.mu.Lock()
		n := w.results["unreachable"]
		w.results = map[string]int{}
		w.mu.Unlock()
		if n < 1200 || n > 3000 {
			t.Errorf("%d probes in 2 to 3 h of a database that is away", n)
		}
		if s := statusOf(p); s.OK || s.Error != "the database refuses connections. Is it running?" || p.Unproven() != "" {
			t.Errorf("status: %+v, not ready: %q", s, p.Unproven())
		}
		w.set(func() { w.down = nil })
		time.Sleep(2 * probeAgainUnreachable)
		w.did(t, map[string]int{"ok": 1})
		time.Sleep(10 * time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.results["ok"]; n < 8 || n > 12 || len(w.results) != 1 {
			t.Errorf("probes in 10 h: %v", w.results)
		}
		if n := logs.Len(); n != 3 {
			t.Errorf("%d lines, want one for each change: %v", n, logs.All())
		}
	})
}

// TestProbesAfterDoubt: a client who met a database that is away makes credproxy
// look, and go on looking until it is back.
func TestProbesAfterDoubt(t *testing.T) {
	probing(t, config.Probe{}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
		synctest.Wait()
		w.did(t, map[string]int{"ok": 1})
		for range 100 {
			p.SessionEnded(fault.Unreachable)
			synctest.Wait()
		}
		w.did(t, map[string]int{}) // one was made just now
		time.Sleep(doubtful)
		p.SessionEnded(fault.ClientGone)
		synctest.Wait()
		w.did(t, map[string]int{})
		for range 100 {
			p.SessionEnded(fault.Unreachable)
			synctest.Wait()
		}
		w.did(t, map[string]int{"ok": 1}) // it was back already
		time.Sleep(doubtful)
		w.set(func() { w.down = &fault.Error{Kind: fault.Unreachable, Message: "away"} })
		for range 100 {
			p.SessionEnded(fault.Unreachable)
			synctest.Wait()
		}
		w.did(t, map[string]int{"unreachable": 1})
		w.set(func() { w.down = nil })
		time.Sleep(2 * probeAgainUnreachable)
		w.did(t, map[string]int{"ok": 1})
	})
}

// TestDoubtsDuringAProbe has clients fail all the while, also while a slow probe is
// under way that goes well.
func TestDoubtsDuringAProbe(t *testing.T) {
	probing(t, config.Probe{}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
		synctest.Wait()
		time.Sleep(doubtful)
		w.did(t, map[string]int{"ok": 1})
		w.set(func() { w.takesTime = 20 * time.Millisecond })
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			p.SessionEnded(fault.Unreachable)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.results["ok"]; n < 9 || n > 10 {
			t.Errorf("%d probes in 10 s", n)
		}
	})
}

func TestProbesAreFewWhereTheDatabaseRefuses(t *testing.T) {
	probing(t, config.Probe{}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
		synctest.Wait()
		w.set(func() { w.takes["v1"], w.current = false, "v2" })
		time.Sleep(2 * time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.results[string(fault.CredentialRejected)] == 0 || w.asked > 90 {
			t.Errorf("%d logins in 2 h: %v", w.asked, w.results)
		}
	})
}

// TestProbesAloneLockNoAccount has no version right, AWSPENDING included, and no
// client: how often probe.interval says changes nothing.
func TestProbesAloneLockNoAccount(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Second, time.Hour} {
		probing(t, config.Probe{Interval: interval}, func(t *testing.T, w *world, _ *Prober, _ *observer.ObservedLogs) {
			w.set(func() {
				w.takes = map[string]bool{}
				w.others = map[secrets.Stage]string{secrets.Pending: "v2", secrets.Previous: "v0"}
			})
			asked := func(d time.Duration) int {
				time.Sleep(d)
				w.mu.Lock()
				defer w.mu.Unlock()
				n := w.asked
				w.asked = 0
				return n
			}
			if n := asked(90 * time.Second); n < 1 || n > 4 {
				t.Errorf("interval %v: %d failed logins in the first 90 s", interval, n)
			}
			// Two rounds while the wait grows, then one each 5 min at -20 % or more.
			if n := asked(time.Hour); n < 3*10 || n > 3*(2+60/4) {
				t.Errorf("interval %v: %d failed logins in the hour after", interval, n)
			}
		})
	}
}

// TestProbesComeBackSoon has faults that go by themselves last for an hour.
func TestProbesComeBackSoon(t *testing.T) {
	const soon = 25 * time.Second
	for _, kind := range []fault.Kind{fault.UpstreamRefused, fault.UpstreamBroken, fault.Timeout, fault.SecretProblem, fault.Unreachable} {
		probing(t, config.Probe{Interval: 2 * time.Hour}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
			w.set(func() { w.down = &fault.Error{Kind: kind, Message: "not now"} })
			time.Sleep(time.Hour)
			w.set(func() { w.down = nil })
			time.Sleep(soon)
			if s := statusOf(p); !s.OK {
				t.Errorf("%s: not proved %v after it went by: %+v", kind, soon, s)
			}
		})
	}
}

// TestProbesKnowWhatIsNoRefusal: a database that takes the credential and then
// minds the name of the database has proved it. A name that nobody has asked for
// is nobody's mistake.
func TestProbesKnowWhatIsNoRefusal(t *testing.T) {
	probing(t, config.Probe{Interval: time.Minute}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
		w.set(func() {
			w.session = &fault.Error{Kind: fault.UpstreamRefused, Err: &fault.SQLError{Code: "3D000", Message: `database "postgres" does not exist`}}
		})
		synctest.Wait()
		w.did(t, map[string]int{"ok": 1})
		if why := p.Unproven(); why != "" {
			t.Errorf("not proven: %s", why)
		}
		w.set(func() {
			w.session = &fault.Error{Kind: fault.UpstreamRefused, Err: &fault.SQLError{Code: "42P17", Message: "anything else"}}
		})
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if s := statusOf(p); s.OK || s.VersionID != "v1" || !strings.Contains(s.Error, "took the credential and then said: anything else") {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestHintsAtTheDatabase: what MySQL minds once it has taken the credential is mostly
// the name of the database, but not always.
func TestHintsAtTheDatabase(t *testing.T) {
	for code, want := range map[string]bool{"1044": true, "1049": true, "1226": false} {
		err := &fault.Error{Kind: fault.UpstreamRefused, Err: &fault.SQLError{Code: code, Message: "said so"}}
		outcome, failure := AcceptanceOf(&config.Database{Engine: config.MySQL}, "", err)
		if outcome != AcceptedThenFailed || failure == nil || !strings.Contains(failure.Message, "took the credential") || strings.Contains(failure.Hint, "right database") != want {
			t.Errorf("%s: %+v, %v", code, failure, outcome)
		}
	}
}

func TestProbesWrite(t *testing.T) {
	probing(t, config.Probe{WriteTable: "probe"}, func(t *testing.T, w *world, p *Prober, _ *observer.ObservedLogs) {
		synctest.Wait()
		w.did(t, map[string]int{"ok": 1})
		w.set(func() {
			w.current, w.takes["v2"] = "v2", true
			w.write = fault.ErrStatement(&fault.SQLError{Code: "42P01", Message: `relation "probe" does not exist`})
		})
		time.Sleep(2 * time.Hour)
		s := statusOf(p)
		if s.OK || s.VersionID != "v2" || !strings.Contains(s.Error, `probe.write_table probe cannot be written to: relation "probe" does not exist (42P01). Create it`) {
			t.Errorf("status: %+v", s)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.results[probeNotWritable]; n < 40 || n > 90 {
			t.Errorf("%d probes in an hour", n)
		}
	})
}

func TestWriteStatements(t *testing.T) {
	if got := strings.Join(WriteStatements(config.Postgres, "ops.probe"), "; "); !strings.Contains(got, `INSERT INTO "ops"."probe" DEFAULT VALUES; SELECT 1 FROM "ops"."probe" LIMIT 1`) {
		t.Error(got)
	}
	if got := strings.Join(WriteStatements(config.MariaDB, "probe"), "; "); !strings.Contains(got, "INSERT INTO `probe` () VALUES (); SELECT 1 FROM `probe` LIMIT 1") {
		t.Error(got)
	}
	if kind, e := writeFailure(&fault.Error{Kind: fault.UpstreamBroken, Message: "it broke"}, "probe", "app"); kind != string(fault.UpstreamBroken) || e.Message != "it broke" {
		t.Errorf("a connection that broke: %s, %v", kind, e)
	}
	if kind, e := writeFailure(fault.ErrStatement(&fault.SQLError{Code: "1142"}), "probe", "app"); kind != probeNotWritable || e.Hint != "GRANT INSERT, SELECT ON probe TO app." {
		t.Errorf("a right that is missing: %s, %v", kind, e)
	}
	if kind, e := writeFailure(errors.New("x"), "probe", "app"); kind != string(fault.Internal) || e == nil {
		t.Errorf("a defect: %s, %v", kind, e)
	}
}

func TestOwnDatabase(t *testing.T) {
	named := secrets.NewCredential("app", "x")
	named.Endpoint.Database = "orders"
	for _, tt := range []struct {
		cfg  config.Database
		cred *secrets.Credential
		want string
	}{
		{config.Database{Engine: config.Postgres}, secrets.NewCredential("app", "x"), "postgres"},
		{config.Database{Engine: config.Postgres, Access: config.Access{Databases: []string{"reports"}}}, secrets.NewCredential("app", "x"), "reports"},
		{config.Database{Engine: config.Postgres}, named, ""},
		{config.Database{Engine: config.Postgres, Database: "orders"}, secrets.NewCredential("app", "x"), ""},
		{config.Database{Engine: config.MySQL}, secrets.NewCredential("app", "x"), ""},
	} {
		if got := OwnDatabase(&tt.cfg, tt.cfg.Engine, tt.cred); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.cfg, got, tt.want)
		}
	}
}
