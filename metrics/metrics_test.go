package metrics

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/pool"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/topology"
)

// fill makes every metric have a value.
func fill(m *Metrics) *Database {
	d := m.Database("orders")
	cred := secrets.NewCredential("app", "planted-secret")
	cred.VersionID = "0123456789abcdef"
	d.Observe(&proxy.Server{}, func() secrets.Status {
		return secrets.Status{Preferred: cred, Since: time.Now().Add(-time.Minute)}
	}, func() bool { return true })
	d.SessionEnded(fault.OK, "")
	d.LoginPhase("auth", time.Millisecond)
	d.CancelRequest("forwarded")
	d.APICall("GetSecretValue", secrets.Errorf(secrets.Denied, "no"))
	for _, err := range []error{nil, errors.New("x"), secrets.MarkRejected(errors.New("x"))} {
		d.Credential("secrets_manager", secrets.Event{Kind: secrets.Tried, Stage: secrets.Current, Credential: cred, Err: err})
	}
	d.Credential("secrets_manager", secrets.Event{Kind: secrets.Fetched, Reason: secrets.ReasonStart, Credential: cred})
	d.Credential("secrets_manager", secrets.Event{Kind: secrets.Rotated, Credential: cred})
	d.Probe("ok", true, true)
	p := pool.New(pool.Options{MaxLifetime: time.Hour})
	defer p.Close()
	d.ObservePool(p)
	d.ObserveServers(nil, func() topology.Status {
		return topology.Status{Role: topology.Writer, Instances: []topology.Instance{{Name: "orders-1", Role: topology.Writer}, {Name: "orders-2", Role: topology.Reader, Lag: time.Second}}}
	})
	found := m.Discovery()
	found.Called("eu-west-1", "", "ListSecrets", "ok")
	found.Answered("eu-west-1", "", "ok")
	found.Found("eu-west-1", "", 1)
	m.Draining()
	return d
}

func TestEveryMetricIsDocumentedAndTheOtherWayRound(t *testing.T) {
	m := New()
	fill(m)
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]bool{}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "credproxy_") {
			continue
		}
		exported[name] = true
		row := ""
		for line := range strings.Lines(string(doc)) {
			if strings.HasPrefix(line, "| `"+name+"` |") {
				row = line
			}
		}
		if row == "" {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() != "database" && !strings.Contains(row, "`"+l.GetName()+"`") {
				t.Errorf("label %s of %s is not in docs/metrics.md", l.GetName(), name)
			}
		}
	}
	for line := range strings.Lines(string(doc)) {
		name, ok := strings.CutPrefix(line, "| `credproxy_")
		if name, _, _ = strings.Cut(name, "`"); ok && !exported["credproxy_"+name] {
			t.Errorf("docs/metrics.md has credproxy_%s, which does not exist", name)
		}
	}
}

func TestValues(t *testing.T) {
	m := New()
	fill(m)
	want := `
# HELP credproxy_login_attempts_total Credentials offered to the database, by source and staging label.
# TYPE credproxy_login_attempts_total counter
credproxy_login_attempts_total{database="orders",result="accepted",source="secrets_manager",stage="AWSCURRENT"} 1
credproxy_login_attempts_total{database="orders",result="failed",source="secrets_manager",stage="AWSCURRENT"} 1
credproxy_login_attempts_total{database="orders",result="rejected",source="secrets_manager",stage="AWSCURRENT"} 1
# HELP credproxy_credential_version_info 1, with the first 8 characters of the id of the credential's version, or token.
# TYPE credproxy_credential_version_info gauge
credproxy_credential_version_info{database="orders",version="01234567"} 1
# HELP credproxy_secret_api_calls_total Calls to AWS for a credential.
# TYPE credproxy_secret_api_calls_total counter
credproxy_secret_api_calls_total{database="orders",operation="GetSecretValue",result="access_denied"} 1
# HELP credproxy_upstream_up 1 if the last login that tried reached the database, 0 if it did not.
# TYPE credproxy_upstream_up gauge
credproxy_upstream_up{database="orders"} 1
`
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "credproxy_login_attempts_total",
		"credproxy_credential_version_info", "credproxy_secret_api_calls_total", "credproxy_upstream_up"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(m.Registry, "credproxy_connections_total", "credproxy_login_duration_seconds"); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestADatabaseThatChangesKeepsItsMetricsAndOneThatGoesTakesThemAlong follows a
// database through a reload that changes it, its removal, and its return.
func TestADatabaseThatChangesKeepsItsMetricsAndOneThatGoesTakesThemAlong(t *testing.T) {
	m := New()
	add := func() (*Database, *proxy.Server) {
		d, s := m.Database("orders"), &proxy.Server{}
		d.Observe(s, func() secrets.Status { return secrets.Status{} }, func() bool { return true })
		return d, s
	}
	relayed := func(want string) {
		t.Helper()
		text := ""
		if want != "" {
			text = `
# HELP credproxy_relay_bytes_total Bytes relayed after login.
# TYPE credproxy_relay_bytes_total counter
credproxy_relay_bytes_total{database="orders",direction="to_client"} 0
credproxy_relay_bytes_total{database="orders",direction="to_upstream"} ` + want + "\n"
		}
		if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(text), "credproxy_relay_bytes_total"); err != nil {
			t.Error(err)
		}
	}
	d, old := add()
	old.Traffic.ToUpstream.Add(5)
	changed, s := add()
	s.Traffic.ToUpstream.Add(2)
	relayed("7")
	d.Release(old)
	relayed("7") // a counter never falls
	changed.Release(s)
	relayed("")
	if n, err := testutil.GatherAndCount(m.Registry, "credproxy_connections_active", "credproxy_upstream_up"); err != nil || n > 0 {
		t.Errorf("%d series are left, %v", n, err)
	}
	m.Database("broken").Release(nil) // was not even built
	_, s = add()
	s.Traffic.ToUpstream.Add(1)
	relayed("1")
}

// TestServersGoWithTheirDatabase has a database replaced, in vain at first, and its clients get any
// server at last.
func TestServersGoWithTheirDatabase(t *testing.T) {
	m := New()
	writer := func(name string) (*Database, *proxy.Server) {
		d, s := m.Database("orders"), &proxy.Server{}
		d.ObserveServers(s, func() topology.Status {
			return topology.Status{Instances: []topology.Instance{{Name: name, Role: topology.Writer, Lag: -1}}}
		})
		return d, s
	}
	want := func(name string) {
		t.Helper()
		text := ""
		if name != "" {
			text = `
# HELP credproxy_instance_writer 1 for the server that takes writes, as the servers of the database say.
# TYPE credproxy_instance_writer gauge
credproxy_instance_writer{database="orders",server="` + name + "\"} 1\n"
		}
		if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(text), "credproxy_instance_writer"); err != nil {
			t.Error(err)
		}
	}
	d, first := writer("one")
	_, discarded := writer("two")
	want("two")
	d.Release(discarded) // the reload failed
	want("one")
	m.Database("orders") // without a role
	d.Release(first)
	want("")
}

// TestNoLabelPerToken has a database log in with one token after another.
func TestNoLabelPerToken(t *testing.T) {
	m := New()
	d := m.Database("orders")
	var cred *secrets.Credential
	d.Observe(&proxy.Server{}, func() secrets.Status { return secrets.Status{Preferred: cred} }, func() bool { return true })
	want := `
# HELP credproxy_credential_version_info 1, with the first 8 characters of the id of the credential's version, or token.
# TYPE credproxy_credential_version_info gauge
credproxy_credential_version_info{database="orders",version="token"} 1
`
	for _, token := range []string{"one", "two"} {
		cred = secrets.NewCredential("app", token)
		cred.Expires = time.Now().Add(time.Minute)
		cred.UseLocalVersion()
		if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "credproxy_credential_version_info"); err != nil {
			t.Error(err)
		}
	}
}
