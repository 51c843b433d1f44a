package integration_test

import (
	"crypto/tls"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
)

// tlsFiles are the certificates of a listener and of its clients.
type tlsFiles struct {
	server    string // YAML of the database
	mutual    string // the same, for a listener that demands a certificate
	ca        string // who signed the listener's certificate
	cert, key string // of a client
	otherCert string // of a client nobody knows
	otherKey  string
}

func clientTLSFiles(t *testing.T) tlsFiles {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var f tlsFiles
	issue := func(ca *pki.CA, l pki.Leaf, name string) (cert, key string) {
		c, err := ca.Issue(l)
		must(err)
		cert, key, err = c.Write(dir, name)
		must(err)
		return cert, key
	}
	serverCA, err := pki.NewRSACA("listener authority")
	must(err)
	clientCA, err := pki.NewCA("client authority")
	must(err)
	otherCA, err := pki.NewCA("client authority")
	must(err)
	cert, key := issue(serverCA, pki.Localhost(), "listener")
	f.ca, err = serverCA.Write(dir, "listener-ca")
	must(err)
	clientCAFile, err := clientCA.Write(dir, "client-ca")
	must(err)
	client := pki.Leaf{Names: []string{"client"}, Client: true}
	f.cert, f.key = issue(clientCA, client, "client")
	f.otherCert, f.otherKey = issue(otherCA, client, "other")
	f.server = fmt.Sprintf("client_tls: {cert_file: %q, key_file: %q}", cert, key)
	f.mutual = fmt.Sprintf("client_tls: {cert_file: %q, key_file: %q, client_ca_file: %q}", cert, key, clientCAFile)
	return f
}

// TLS from the client: every sslmode of libpq, pgx and lib/pq, begun by an
// SSLRequest or at once.
func TestPostgresClientTLS(t *testing.T) {
	files := clientTLSFiles(t)
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		for _, mode := range []string{"disable", "prefer", "require", "verify-ca", "verify-full"} {
			conninfo := s.localhost("sslmode=" + mode)
			if strings.HasPrefix(mode, "verify") {
				conninfo += " sslrootcert=" + files.ca
			}
			encrypted := mode != "disable"
			for _, client := range servers.PostgresVersions() {
				got := psql(t, client, conninfo, "SELECT current_user\n\\g\n\\conninfo")
				if !strings.HasPrefix(got, "app\n") || strings.Contains(got, "TLSv1.3") != encrypted {
					t.Errorf("psql %d, %s: %s", client, mode, got)
				}
			}
			conn := pgConnect(t, conninfo)
			if _, ok := conn.PgConn().Conn().(*tls.Conn); ok != encrypted || ask(t, conn, "SELECT 1") != "1" {
				t.Errorf("pgx, %s: encrypted: %v", mode, ok)
			}
			if err := pingLibPQ(conninfo); err != nil {
				t.Errorf("lib/pq, %s: %v", mode, err)
			}
		}
		direct := s.localhost("sslmode=verify-full", "sslnegotiation=direct", "sslrootcert="+files.ca)
		if got := psql(t, 18, direct, `\conninfo`); !strings.Contains(got, "TLSv1.3") || !strings.Contains(got, "ALPN|postgresql") {
			t.Errorf("psql 18, direct: %s", got)
		}
		ask(t, pgConnect(t, direct), "SELECT 1")
		if err := pingLibPQ(direct); err == nil {
			t.Error("lib/pq, which sends no ALPN, was let in, as PostgreSQL would not")
		}
		foreign := s.localhost("sslmode=verify-full", "sslrootcert="+s.CAFile)
		if err := pingLibPQ(foreign); err == nil {
			t.Error("a client took a certificate of another authority")
		}
	}, files.server)
}

// localhost is conninfo with the name in the listener's certificate.
func (s *pgStand) localhost(more ...string) string {
	return strings.Replace(s.conninfo(more...), "127.0.0.1", "localhost", 1)
}

func pingLibPQ(conninfo string) error {
	db, err := sql.Open("postgres", conninfo)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping()
}

// A listener with client_ca_file takes TCP clients with a certificate of that
// authority and no others; who may open the socket needs none.
func TestPostgresClientCertificate(t *testing.T) {
	files := clientTLSFiles(t)
	s := newPGServer(t, servers.PostgresOptions{Version: 18})
	s.run(t, secretJSON(s.Postgres, "app", appPassword), files.mutual)
	known := fmt.Sprintf("sslcert=%s sslkey=%s", files.cert, files.key)
	stranger := fmt.Sprintf("sslcert=%s sslkey=%s", files.otherCert, files.otherKey)
	const refused = 2 // psql's exit status for a connection that failed
	for _, tt := range []struct {
		name, conninfo string
		says           string // psql; empty: logs in
	}{
		{"known", s.conninfo("sslmode=require", known), ""},
		{"unix socket", s.socket("sslmode=disable"), ""},
		{"no certificate", s.conninfo("sslmode=require"), "certificate"},
		{"stranger", s.conninfo("sslmode=require", stranger), "unknown ca"},
		{"in clear", s.conninfo("sslmode=disable"), "credproxy: this listener takes only TLS connections with a client certificate"},
	} {
		for _, client := range servers.PostgresVersions() {
			cmd := psqlCommand(t, client, tt.conninfo)
			cmd.Stdin = strings.NewReader("SELECT 'logged in'")
			out, _ := cmd.CombinedOutput()
			want, status := tt.says, refused
			if want == "" {
				want, status = "logged in", 0
			}
			if !strings.Contains(string(out), want) || cmd.ProcessState.ExitCode() != status {
				t.Errorf("%s, psql %d: status %d: %s", tt.name, client, cmd.ProcessState.ExitCode(), out)
			}
		}
		if err := pingPgx(t, tt.conninfo); (err == nil) != (tt.says == "") {
			t.Errorf("%s, pgx: %v", tt.name, err)
		}
		if err := pingLibPQ(tt.conninfo); (err == nil) != (tt.says == "") {
			t.Errorf("%s, lib/pq: %v", tt.name, err)
		}
	}
	if err := pingPgx(t, s.conninfo("sslmode=disable")); !hasCode(err, "28000") {
		t.Errorf("in clear: %v", err)
	}
	direct := s.conninfo("sslmode=require", "sslnegotiation=direct", known)
	if err := pingPgx(t, direct); err != nil {
		t.Errorf("direct: %v", err)
	}
	// A cancel needs no certificate: psql cannot show one.
	s.cancelByPsql(t, 15, s.conninfo("sslmode=require", known))
	s.cancelByPgx(t, direct)
}

func pingPgx(t *testing.T, conninfo string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), conninfo)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	return conn.Ping(t.Context())
}
