package client

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/metrics/recent"
)

func TestWriteStatus(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	err := WriteStatus(&b, admin.Status{
		Version: "v1.2.3", PID: 7, Started: now.Add(-90 * time.Minute), Now: now, Ready: false, Reload: &admin.Reload{At: now.Add(-time.Minute)},
		Databases: []admin.Database{
			{
				Name: "orders", Ready: true, Listeners: []string{"127.0.0.1:5432", "unix:/run/x"}, Upstream: "db:5432",
				Credential:  admin.Credential{User: "app", VersionID: "0123456789", Confirmed: now.Add(-time.Minute), NextRotation: now.Add(time.Hour)},
				Sessions:    admin.Sessions{Active: 3, Limit: 1000, LoginsPerSecond: 1.25, Failed: 2},
				Failures:    []admin.Failure{{Reason: "unreachable", Count: 2, Last: now.Add(-5 * time.Second), Error: "gone\x1b[2J"}},
				BreakGlass:  &admin.BreakGlass{Active: true, Reason: "INC-1", Since: now, Until: now.Add(time.Hour)},
				Replacement: "no credential yet: not_found",
				Probe:       &admin.Probe{At: now.Add(-time.Second), Error: "refused"},
				Recent: &recent.Window{Seconds: 900, Logins: 4711, MostPerSecond: 31.2, P50: 0.00021, P99: 0.024, MostSessions: 12, Failures: 2,
					Rotations: []time.Time{now.Add(-3 * time.Minute)}},
				Pool: &admin.Pool{Idle: 3, InUse: 2, Waiting: 1, Opened: 17, Reused: 4700, Closed: map[string]int64{"unfit": 4, "retired": 8}},
			},
			{
				Name: "stock", Reason: "no credential yet", Recent: &recent.Window{Seconds: 61.5}, Pool: &admin.Pool{},
				SourceBreaker:   &admin.Breaker{State: admin.BreakerOpen, Error: "access_denied"},
				DatabaseBreaker: &admin.Breaker{State: admin.BreakerClosed},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/status.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	err = WriteStatus(&b, admin.Status{Ready: true, Databases: []admin.Database{{Name: "stock", Reason: "no credential yet"}}})
	if err != nil || !strings.Contains(b.String(), ": ready, with trouble\n") {
		t.Errorf("%v: %s", err, b.String())
	}
}
