package tally

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/metrics"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

func TestLoginsPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rate
		want := func(n float64) {
			t.Helper()
			if got := r.perSecond(time.Now()); got != n/60 {
				t.Errorf("%v, want %v", got, n/60)
			}
		}
		want(0)
		for range 120 {
			r.add(time.Now())
		}
		want(120)
		time.Sleep(30 * time.Second)
		r.add(time.Now())
		want(121)
		time.Sleep(29 * time.Second)
		want(121)
		time.Sleep(2 * time.Second)
		want(1)
		time.Sleep(time.Hour)
		want(0)
		r.add(time.Now())
		r.add(time.Now().Add(-time.Hour)) // the clock was set back
		want(2)
	})
}

func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tl := New(metrics.New().Database("orders"))
		fill := func() (db admin.Database) { tl.Fill(&db); return db }
		tried := func(version string, stage secrets.Stage, err error) {
			cred := secrets.NewCredential("app", "planted-secret")
			cred.VersionID = version
			tl.Credential(secrets.Event{Kind: secrets.Tried, Stage: stage, Credential: cred, Err: err})
		}
		tried("v1", secrets.Current, nil)
		tl.LoginPhase("total", time.Second)
		if db := fill(); db.Rotation != nil || db.Sessions.Total != 1 || len(db.Failures) != 0 {
			t.Errorf("%+v", db)
		}
		time.Sleep(time.Minute)
		tried("v1", secrets.Current, secrets.MarkRejected(fault.ErrShuttingDown(nil)))
		tried("v2", secrets.Pending, nil)
		at := time.Now()
		tl.LoginPhase("total", 3*time.Second) // it has waited
		tl.LoginPhase("total", 2*time.Second)
		tl.LoginPhase("auth", 9*time.Second)
		time.Sleep(5 * time.Second)
		tl.LoginPhase("total", 4*time.Second) // it came after
		tried("v2", secrets.Current, nil)
		if r := fill().Rotation; r == nil || *r != (admin.Rotation{At: at, VersionID: "v2", WaitedLogins: 2, WaitedSeconds: 3}) {
			t.Errorf("%+v", r)
		}
		tl.SessionEnded(fault.Unreachable, "no route")
		tl.SessionEnded(fault.ClientGone, "")
		tl.SessionEnded(fault.Unreachable, "refused")
		tl.SessionEnded(fault.OK, "")
		db := fill()
		if db.Sessions.Failed != 3 || len(db.Failures) != 2 ||
			db.Failures[0] != (admin.Failure{Reason: "unreachable", Count: 2, Last: time.Now(), Error: "refused"}) {
			t.Errorf("%+v", db)
		}
	})
}
