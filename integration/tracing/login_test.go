package tracing_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/credproxy/credproxy/integration/servers"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func ofClient(l login) bool { return l.parent() == traceID+"-"+spanID }

// TestPostgres has a client whose application_name holds a traceparent.
func TestPostgres(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 18)
	s := start(t, "postgres", secret, pg.CAFile)
	s.proxy.AwaitLog(t, "probe succeeded") // whose verdict the client would wait for
	name := "orders/*traceparent='" + parent + "'*/"
	conn, err := s.connect(t.Context(), name)
	must(t, err)
	var seen string
	must(t, conn.QueryRow(t.Context(), "SHOW application_name").Scan(&seen))
	must(t, conn.Close(t.Context()))
	if seen != name[:63] {
		t.Errorf("the server has application_name %q", seen)
	}
	l := s.receiver.await(t, "login of the client", ofClient)
	if got := l.tree(); got != "request dial dial/lookup tls auth" {
		t.Errorf("the tree: %s", got)
	}
	got := l.about()
	for key, want := range map[string]any{
		"credproxy.database": "orders", "credproxy.version_id": s.aws.Secret(secretName).Stage("AWSCURRENT").ID[:8],
		"db.system.name": "postgresql", "db.namespace": "postgres", "server.address": "localhost", "server.port": int64(pg.Port),
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if l.Kind != tracepb.Span_SPAN_KIND_CLIENT || l.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET || s.receiver.service != "credproxy" {
		t.Errorf("kind %v, status %v, service %q", l.Kind, l.Status, s.receiver.service)
	}
	for _, p := range l.parts {
		if p.StartTimeUnixNano < l.StartTimeUnixNano || p.EndTimeUnixNano > l.EndTimeUnixNano || p.EndTimeUnixNano < p.StartTimeUnixNano {
			t.Errorf("%s is not within the login", p.Name)
		}
	}
	dial := about(l.part("dial"))
	if ip := net.ParseIP(fmt.Sprint(dial["network.peer.address"])); ip == nil || !ip.IsLoopback() || dial["network.peer.port"] != int64(pg.Port) {
		t.Errorf("dial: %v", dial)
	}
	if m := about(l.part("auth"))["credproxy.auth_method"]; m != "SCRAM-SHA-256-PLUS" {
		t.Errorf("method %v", m)
	}
	// One that sends none, or a malformed one, is a trace of its own.
	s.visit(t, "00-"+traceID+"-0000000000000000-01")
	own := s.receiver.await(t, "login of its own", func(l login) bool { return len(l.ParentSpanId) == 0 })
	if strings.HasPrefix(own.parent(), traceID) {
		t.Error("a malformed traceparent was taken")
	}
}

// TestMySQL has a client whose connection attributes hold a traceparent.
func TestMySQL(t *testing.T) {
	t.Parallel()
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor})
			must(t, my.CreateUser(t.Context(), appUser, appPassword, ""))
			s := start(t, flavor, secretOf(flavor, my.Port, "app"), my.CAFile)
			s.proxy.AwaitLog(t, "probe succeeded")
			c := mysql.NewConfig()
			c.User, c.Net, c.Addr, c.ConnectionAttributes = clientUser, "tcp", s.addr, "program_name:orders,traceparent:"+parent
			connector, err := mysql.NewConnector(c)
			must(t, err)
			db := sql.OpenDB(connector)
			defer db.Close()
			must(t, db.PingContext(t.Context()))
			l := s.receiver.await(t, "login of the client", ofClient)
			if got := l.tree(); got != "dial dial/lookup greeting request tls auth" {
				t.Errorf("the tree: %s", l.tree())
			}
			if got := l.about(); got["db.system.name"] != flavor || got["db.namespace"] != "app" || got["server.port"] != int64(my.Port) || got["credproxy.version_id"] == nil {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestError has the database refuse the credential, and then not be there.
func TestError(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 15)
	s := start(t, "postgres", secret, pg.CAFile, "rotation: {grace: 0s}", "probe: {interval: 0s}") // nobody else finds out
	s.visit(t, "")
	must(t, pg.SetPassword(t.Context(), appUser, "planted-Other-1"))
	time.Sleep(1100 * time.Millisecond) // no login was accepted within the last second
	_, err := s.connect(t.Context(), parent)
	if said, ok := errors.AsType[*pgconn.PgError](err); !ok || said.Code != "28P01" {
		t.Fatal(err)
	}
	l := s.receiver.await(t, "login of the client", ofClient)
	got := l.about()
	if l.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || l.Status.Message != "the database refused the credential" || got["error.type"] != "credential_rejected" || got["db.response.status_code"] != "28P01" {
		t.Errorf("status %v, %v", l.Status, got)
	}
	auth := l.part("auth")
	if auth == nil || auth.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || about(auth)["db.response.status_code"] != "28P01" || about(auth)["credproxy.version_id"] == nil {
		t.Errorf("the tree: %s; %v", l.tree(), auth)
	}
	if source := l.part("source"); source == nil || about(source)["credproxy.reason"] != "rejected" || about(source)["credproxy.source"] != "secrets_manager" {
		t.Errorf("the tree: %s; %v", l.tree(), source)
	}
	if strings.Contains(l.tree(), "source!") {
		t.Errorf("that there is no rotation is no failure: %s", l.tree())
	}
}

// TestNobodyThere has a secret that leads to where nobody listens, and one whose name has no
// address.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	pg, _ := postgres(t, 15)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	for secret, want := range map[string]string{
		secretOf("postgres", ln.Addr().(*net.TCPAddr).Port, "postgres"):                                    "request source dial! dial/lookup",
		strings.Replace(secretOf("postgres", pg.Port, "postgres"), "localhost", "no-such-host.invalid", 1): "request source dial! dial/lookup!",
	} {
		s := start(t, "postgres", secret, pg.CAFile, "probe: {interval: 0s}")
		if _, err := s.connect(t.Context(), parent); err == nil {
			t.Fatal("a session of a server that is not there")
		}
		l := s.receiver.await(t, "login of the client", ofClient)
		if got := l.about(); got["error.type"] != "unreachable" || l.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%v, %v", l.Status, got)
		}
		if got := l.tree(); !strings.HasPrefix(strings.Replace(got, "request dial", "request source dial", 1), want) || strings.Contains(got, "auth") {
			t.Errorf("the tree: %s, want %s", got, want)
		}
	}
}

// TestNoMySQLThere has a client of MySQL or MariaDB, whom nobody greets but credproxy.
func TestNoMySQLThere(t *testing.T) {
	t.Parallel()
	pg, _ := postgres(t, 15) // whose certificate will do
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	for _, flavor := range []string{"mysql", "mariadb"} {
		s := start(t, flavor, secretOf(flavor, ln.Addr().(*net.TCPAddr).Port, "app"), pg.CAFile, "probe: {interval: 0s}")
		if err := s.openMySQL(t, "traceparent:"+parent); err == nil {
			t.Error("a session of a server that is not there")
		}
		l := s.receiver.await(t, "login of the client", ofClient)
		got := l.about()
		if got["db.system.name"] != flavor || got["error.type"] != "unreachable" || l.part("request") == nil {
			t.Errorf("%s: the tree: %s; %v", flavor, l.tree(), got)
		}
	}
}

// TestSilentServer has a database that accepts connections and says nothing.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	pg, _ := postgres(t, 15) // whose certificate will do
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	for engine, step := range map[string]string{"postgres": "tls", "mysql": "greeting"} {
		s := start(t, engine, secretOf(engine, ln.Addr().(*net.TCPAddr).Port, "app"), pg.CAFile, "limits: {login_timeout: 2s}", "probe: {interval: 0s}")
		if engine == "postgres" {
			_, err = s.connect(t.Context(), "")
		} else {
			err = s.openMySQL(t, "")
		}
		if err == nil {
			t.Errorf("%s: a session of a server that says nothing", engine)
		}
		l := s.receiver.session(t, 1)
		part := l.part(step)
		if part == nil || about(part)["error.type"] != "login_timeout" || l.about()["error.type"] != "login_timeout" {
			t.Errorf("%s: the tree: %s; %v; %s: %v", engine, l.tree(), l.about(), step, part)
		}
	}
}

// TestNoTraceOfProbes has a port check, which is no login.
func TestNoTraceOfProbes(t *testing.T) {
	t.Parallel()
	pg, secret := postgres(t, 15)
	s := start(t, "postgres", secret, pg.CAFile)
	for range 3 {
		must(t, touch(t.Context(), s.addr))
	}
	s.visit(t, parent)
	s.receiver.await(t, "login of the client", ofClient)
	if code := s.proxy.Stop(); code != 0 { // so that all has arrived
		t.Errorf("status %d", code)
	}
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	if n := len(s.receiver.logins()); n != 1 {
		t.Errorf("%d logins: %v", n, fmt.Sprint(s.receiver.spans))
	}
}

// touch connects and leaves.
func touch(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
