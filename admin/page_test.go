package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/metrics/recent"
)

// exampleStatus has every field set, on a database that is fine and one that is not.
func exampleStatus(now time.Time) Status {
	fine := Database{
		Name: "orders", Engine: "postgres", Listeners: []string{"127.0.0.1:5432", "unix:/run/credproxy/.s.PGSQL.5432"},
		Upstream: "orders.example:5432", Ready: true,
		Credential: Credential{
			Source: "secrets_manager", User: "app", VersionID: "4f3a9c1e-aaaa-bbbb", Stage: "AWSCURRENT",
			Confirmed: now.Add(-17 * time.Minute), UsableUntil: now.Add(20 * time.Hour), Expires: now.Add(14 * time.Minute),
			Accepted: true, NextRefresh: now.Add(43 * time.Minute), NextRotation: now.Add(50 * time.Hour),
		},
		Rotation: &Rotation{At: now.Add(-5 * time.Hour), VersionID: "4f3a9c1e-aaaa-bbbb", WaitedLogins: 12, WaitedSeconds: 1.24},
		Sessions: Sessions{
			Active: 42, Limit: 1000, Total: 120345, Failed: 3, LoginsPerSecond: 3.4,
			BytesToUpstream: 123456789, BytesToClient: 9876543210,
		},
		SourceBreaker: &Breaker{State: BreakerClosed}, DatabaseBreaker: &Breaker{State: BreakerClosed},
		Replacement: "no credential yet: not_found",
		Recent:      exampleWindow(now),
		Pool:        &Pool{Idle: 3, InUse: 2, Waiting: 1, Opened: 17, Reused: 4700, Closed: map[string]int64{"unfit": 4, "retired": 8}},
		Servers: &Servers{Role: "writer", Server: "orders-1.example:5432", Address: "10.0.0.1:5432", Changes: 1,
			Instances: []Instance{{Name: "orders-1", Role: "writer"}, {Name: "orders-2", Role: "reader", LagSeconds: new(float64)}}},
		BreakGlass: &BreakGlass{}, Probe: &Probe{At: now.Add(-5 * time.Hour), OK: true, Seconds: .023},
	}
	broken := fine
	broken.Name, broken.Ready, broken.Reason = "billing", false, "the database refused the credential"
	broken.Replacement = ""
	broken.Servers = &Servers{Role: "writer", Trouble: now.Add(-3 * time.Second), Switchover: "under way"}
	broken.Credential.Accepted, broken.Credential.Refused = false, true
	broken.Credential.Stale, broken.Credential.FetchError = true, "access_denied"
	broken.DatabaseBreaker = &Breaker{State: BreakerOpen, Since: now.Add(-time.Minute), RetryAt: now.Add(12 * time.Second), Error: "it refuses connections"}
	broken.BreakGlass = &BreakGlass{Active: true, Since: now.Add(-time.Minute), Until: now.Add(59 * time.Minute), Reason: "<b>INC-4711</b>"}
	broken.Failures = []Failure{{Reason: "unreachable", Count: 211, Last: now.Add(-3 * time.Second), Error: "no <route>"}}
	return Status{
		Version: "v0.9.0", PID: 4711, Now: now, Started: now.Add(-26 * time.Hour), UptimeSeconds: 26*3600 + 60,
		Reasons: []string{"billing: the database refused the credential"}, Databases: []Database{fine, broken},
		Reload: &Reload{At: now.Add(-90 * time.Second)},
		Discovery: []Discovery{
			{Region: "eu-west-1", Databases: 2, NotServed: 1, Answered: now.Add(-time.Minute), NextRound: now.Add(time.Minute)},
			{Region: "eu-west-2", Role: "reader", Databases: 1, Answered: now.Add(-time.Hour), Error: "access_denied"},
			{},
		},
	}
}

// exampleWindow has logins that became more, and failed for a while before a rotation.
func exampleWindow(now time.Time) *recent.Window {
	w := &recent.Window{
		Seconds: 900, Logins: 4711, MostPerSecond: 31.2, P50: 0.00021, P99: 0.024, MostSessions: 12, Failures: 45,
		Rotations: []time.Time{now.Add(-3 * time.Minute)}, Marks: []float64{72.5}, Slots: make([]recent.Slot, recent.Slots),
	}
	for i := range w.Slots {
		s := &w.Slots[i]
		*s = recent.Slot{Seen: true, Logins: int64(i * i % 313), P50: time.Duration(200+i) * time.Microsecond, P99: time.Duration(5+i%7) * time.Millisecond, Sessions: int64(2 + i%11)}
		switch {
		case i < 20:
			*s = recent.Slot{Sessions: -1}
		case i >= 68 && i < 73:
			*s = recent.Slot{Seen: true, Failures: int64(i % 15), Sessions: 12}
		}
	}
	return w
}

func getPage(t *testing.T, s Status) (body string, header http.Header) {
	t.Helper()
	w := serve(State{Started: yes, Ready: yes, Status: func() Status { return s }}, request(http.MethodGet, "/", ""))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String(), w.Header()
}

func TestPageSays(t *testing.T) {
	body, _ := getPage(t, exampleStatus(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)))
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")), " ")
	for _, want := range []string{
		"NOT READY · credproxy", "v0.9.0 · up 26h 1m · pid 4711 · 05:06:07 UTC",
		"Break-glass is in use billing logs in with its emergency credential since 05:05:07 UTC, for another 59m. Reason: &lt;b&gt;INC-4711&lt;/b&gt;",
		"Stale credential billing may not use",
		"New configuration waits orders goes on as it was configured before: no credential yet: not_found.",
		"Configuration refused The one read 1m 30s ago has a mistake", "Configuration read again 1m 30s ago, and refused.",
		"Discovery has no answer discovery in eu-west-2 as reader: 1 database served, 0 not; AWS last told all at 04:06:07Z, and not since: access_denied.",
		"discovery in eu-west-1: 2 databases served, 1 not; AWS told all at 05:05:07Z.",
		"discovery in the environment&#39;s region: 0 databases served, 0 not; AWS is being asked.",
		"orders ● Ready", "postgres at orders.example:5432", "127.0.0.1:5432 unix:/run/credproxy/.s.PGSQL.5432",
		"42 of 1000", "3.40", "120345", "user app , version 4f3a9c1e AWSCURRENT, accepted",
		"secrets_manager, confirmed 17m ago", "Expires in 14m", "Next refresh in 43m", "Next rotation in 2d 2h",
		"5h ago, to 4f3a9c1e ; 12 logins waited, the longest 1.2 s", "Source breaker closed", "ok 5h ago, took 23 ms",
		"123.5 MB to the database, 9.9 GB back",
		"logins per second at most 31 ", "login time p50 0.2 ms, p99 24 ms", "sessions at most 12", "failures 45",
		"The last 15 minutes; the credential rotated at 05:03:07 UTC (dashed).",
		"idle in the pool 3", "in use 2", "clients waiting 1", "reused 4700", "opened 17", "Pool closed 8 retired 4 unfit",
		"Servers the writer is orders-1.example:5432 at 10.0.0.1:5432 ; 1 failover seen orders-1 writer orders-2 reader, 0 ms behind",
		"Servers no writer since 05:06:04 UTC, Blue/Green switchover under way; 0 failovers seen",
		"the database refused the credential", "last answer: access_denied , stale", "refused",
		"open since 05:05:07 UTC, tries again in 12 s: it refuses connections", "unreachable no &lt;route&gt; 211 3.0 s ago",
	} {
		if want = strings.ReplaceAll(want, "● ", ""); !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(text, "billing") > strings.Index(text, "orders") {
		t.Error("the broken database does not come first")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestPageOfLittle(t *testing.T) {
	body, _ := getPage(t, Status{Ready: true, Databases: []Database{{Name: "new", Credential: Credential{Source: "file"}}}})
	for _, want := range []string{"none yet", "nothing yet", "none seen since the start", "only the secret knows"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestPageNeedsNothing holds that the page is whole without scripts and without
// anything from elsewhere, and that its policy lets in its own style alone.
func TestPageNeedsNothing(t *testing.T) {
	body, header := getPage(t, exampleStatus(time.Now()))
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(body, -1)
	if len(style) != 1 {
		t.Fatalf("%d styles", len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := header.Get("Content-Security-Policy"); got != want {
		t.Errorf("policy %q, want %q", got, want)
	}
	for _, bad := range []string{"<script", "src=", "://", "style=", "@import", "url(", " onload", "<b>INC"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(body, `<meta http-equiv="refresh" content="5">`) {
		t.Error("the page does not refresh itself")
	}
}

func TestHuman(t *testing.T) {
	for seconds, want := range map[float64]string{
		-1: "0 ms", 0.0234: "23 ms", 1.24: "1.2 s", 59.4: "59 s", 60: "1m", 61: "1m 1s", 3600: "1h", 7260: "2h 1m",
		172800: "2d", 100 * 3600: "4d 4h",
	} {
		if got := human(seconds); got != want {
			t.Errorf("%v: %q, want %q", seconds, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 1e15: "1000.0 TB"} {
		if got := byteCount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
