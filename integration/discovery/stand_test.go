package discovery_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

const (
	planted    = "planted-9Kd4wRb7" // in each secret's value
	ofCluster  = "aws:rds:primaryDBClusterArn"
	ofInstance = "aws:rds:primaryDBInstanceArn"
	rdsARN     = "arn:aws:rds:eu-west-1:" + awsstub.AccountID + ":"
	roleARN    = "arn:aws:iam::" + awsstub.AccountID + ":role/reader" // may do all
)

// engine is one real server, which is behind each database of its engine.
type engine struct {
	name string // of RDS
	port int
}

// stand is an account whose databases run, and a credproxy that discovers them.
type stand struct {
	*sidecar.Proxy
	aws     *awsstub.Server
	dir     string // of the sockets, by name
	binary  string
	ca      *pki.CA // of the servers' certificates
	caFile  string
	file    string
	rest    string // of the configuration, below discover
	engines []engine
	secrets map[string]bool
	allowed atomic.Pointer[func(action, resource string) bool]
	next    int // address of the next database
}

// newStand starts the servers, of which each listens on all of loopback.
func newStand(t *testing.T, engines ...string) *stand {
	t.Helper()
	s := &stand{secrets: map[string]bool{}}
	s.allow(func(string, string) bool { return true })
	aws, err := awsstub.Start(awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "k",
		Allow: func(action, resource string) bool { return (*s.allowed.Load())(action, resource) }}},
		Roles: []awsstub.Role{{ARN: roleARN, ExternalID: "x7"}}})
	must(t, err)
	t.Cleanup(aws.Close)
	dir, err := os.MkdirTemp("", "found") // the path of a socket is short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ca, err := pki.NewRSACA("Test authority")
	must(t, err)
	caFile, err := ca.Write(dir, "ca")
	must(t, err)
	s.aws, s.dir, s.binary, s.ca, s.caFile, s.file = aws, dir, binary, ca, caFile, filepath.Join(dir, "credproxy.yaml")
	for _, name := range engines {
		port := 0
		if name == "postgres" {
			pg := servers.RunPostgres(t, servers.PostgresOptions{Version: 18, CA: ca, Settings: map[string]string{"listen_addresses": "*", "max_connections": "300"}})
			must(t, pg.CreateRole(t.Context(), "app", planted))
			port = pg.Port
		} else {
			my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: name, CA: ca, Settings: map[string]string{"bind_address": "0.0.0.0", "max_connections": "300"}})
			must(t, my.CreateUser(t.Context(), "app", planted, ""))
			port = my.Port
		}
		s.engines = append(s.engines, engine{name, port})
	}
	s.rest = fmt.Sprintf("  interval: 24h\n  tags: {proxied: ''}\n  each: {listen: 'unix:%s/{name}/.s.PGSQL.5432', tls: {ca_file: %q, server_name: localhost}}\n", dir, caFile)
	return s
}

// allow says what credproxy may do in AWS.
func (s *stand) allow(f func(action, resource string) bool) { s.allowed.Store(&f) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts credproxy with discovery and, in the file, databases.
func (s *stand) start(t *testing.T, databases string) {
	t.Helper()
	s.write(t, databases)
	s.Proxy = sidecar.Run(t, sidecar.Options{Binary: s.binary, Args: []string{"-c", s.file}, Env: s.aws.Env()}, planted)
}

func (s *stand) write(t *testing.T, databases string) {
	t.Helper()
	must(t, os.WriteFile(s.file, []byte("discover:\n"+s.rest+databases), 0o600))
}

// host is the address of loopback that a new database gets.
func (s *stand) host() string {
	s.next++
	return fmt.Sprintf("127.0.%d.%d", 30+s.next/250, 1+s.next%250)
}

// add adds a database, of whose server the i-th engine is: an instance or, of PostgreSQL,
// also a cluster with two members.
func (s *stand) add(name string, i int, cluster bool) {
	e := s.engines[i%len(s.engines)]
	tags := map[string]string{"proxied": "yes"}
	kind, tag := "db:", ofInstance
	if cluster {
		kind, tag = "cluster:", ofCluster
		s.aws.AddDBCluster(awsstub.DBCluster{Identifier: name, Engine: "aurora-postgresql", Endpoint: s.host(), Port: e.port, Database: "postgres", Tags: tags})
		s.lead(name, 1, 2)
	} else {
		s.aws.AddDBInstance(awsstub.DBInstance{Identifier: name, Engine: e.name, Host: s.host(), Port: e.port, Tags: tags})
	}
	if s.secrets[name] {
		return // it has stayed
	}
	s.secrets[name] = true
	s.aws.CreateSecret(name+"/app", fmt.Sprintf(`{"username": "app", "password": %q}`, planted))
	s.aws.SetTag(name+"/app", tag, rdsARN+kind+name)
}

// lead has the members of a cluster be in this order, of which the first is the writer.
func (s *stand) lead(cluster string, members ...int) {
	for _, m := range members {
		member := fmt.Sprintf("%s-%d", cluster, m)
		s.aws.AddDBInstance(awsstub.DBInstance{Identifier: member, Engine: "aurora-postgresql", Cluster: cluster, Host: member, Port: s.engines[0].port})
	}
}

// remove takes a database away; its secret stays a while, as in AWS.
func (s *stand) remove(name string) {
	s.aws.RemoveDBInstance(name)
	s.aws.RemoveDBCluster(name)
}

// found is what the status says.
type found struct {
	Ready     bool
	Reasons   []string
	Databases []foundDatabase
	Discovery []struct {
		Databases int
		NotServed int `json:"not_served"`
		Answered  time.Time
		Error     string
	}
}

type foundDatabase struct {
	Name, Reason string
	Ready        bool
}

func (s *stand) status(t *testing.T) (f found) {
	t.Helper()
	_, body, err := s.Get("/status")
	must(t, err)
	must(t, json.Unmarshal([]byte(body), &f))
	return f
}

// round has credproxy ask AWS once more, and waits until it has.
func (s *stand) round(t *testing.T) {
	t.Helper()
	before := s.rounds(t)
	s.Signal(syscall.SIGHUP)
	sidecar.Await(t, "one more round", func() bool { return s.rounds(t) > before })
}

// rounds is how often credproxy has asked.
func (s *stand) rounds(t *testing.T) (n float64) {
	for _, result := range []string{"ok", "access_denied", "unavailable"} {
		if v, err := s.Metric("credproxy_discovery_answers_total", fmt.Sprintf("result=%q", result)); err == nil {
			n += v
		}
	}
	return n
}

// serves waits until these databases are served, and no others, and all of them are ready.
func (s *stand) serves(t *testing.T, want []string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	var f found
	is := func() bool {
		f = s.status(t)
		var got []string
		for _, db := range f.Databases {
			if !db.Ready {
				return false
			}
			got = append(got, db.Name)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	}
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("serves %v, want %v\n%s", f, want, s.Log())
		}
	}
}

// logged counts the lines of the log with all these parts.
func (s *stand) logged(parts ...string) (n int) {
	for line := range strings.Lines(s.Log()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}
