package integration_test

import (
	"bufio"
	"bytes"
	wire "encoding/binary" // binary is credproxy
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/servers"
)

// helloPacket is a startup packet with pairs of names and values, in their order.
func helloPacket(major, minor int, pairs ...string) []byte {
	b := wire.BigEndian.AppendUint32(make([]byte, 4), uint32(major<<16|minor))
	for _, s := range pairs {
		b = append(append(b, s...), 0)
	}
	b = append(b, 0)
	wire.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// hello sends what a client begins with and returns the server's messages up to
// the first ReadyForQuery or ErrorResponse. The secret of a cancel key becomes
// zeros, and so does its process id.
func hello(t *testing.T, addr string, packet []byte) []string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	var all []string
	for r := bufio.NewReader(conn); ; {
		head := make([]byte, 5)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		body := make([]byte, wire.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		if head[0] == 'K' {
			clear(body)
		}
		all = append(all, string(head)+string(body))
		switch head[0] {
		case 'E':
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("after the error: %q, %v", rest, err)
			}
			return all
		case 'Z':
			return all
		}
	}
}

// What a client says at its start is answered byte for byte as the database
// answers it: versions, extensions, parameters, and errors after the password.
func TestPostgresStartup(t *testing.T) {
	user, pg := []string{"user", "app"}, []string{"database", "postgres"}
	plain := slices.Concat(user, pg)
	cases := []struct {
		name  string
		minor int
		pairs []string
		has   string // the kind of message to look for
	}{
		{"3.0", 0, plain, "K"},
		{"3.1", 1, plain, "K"},
		{"3.2", 2, plain, "K"},
		{"greased version", 9999, plain, "v"},
		{"extension", 0, slices.Concat(plain, []string{"_pq_.something", "on"}), "v"},
		{"extensions and greased version", 9999, slices.Concat([]string{"_pq_.a", "1"}, plain, []string{"_pq_.b", "2"}), "v"},
		{"parameters", 0, slices.Concat(pg, user, []string{"application_name", "☃ é", "DateStyle", "SQL, DMY", "TimeZone", "Asia/Kathmandu",
			"IntervalStyle", "iso_8601", "client_encoding", "LATIN1", "options", "-c geqo=off -c standard_conforming_strings=off"}), "S"},
		{"a parameter twice", 0, slices.Concat(plain, []string{"application_name", "first", "application_name", "second"}), "S"},
		{"physical replication", 0, slices.Concat(user, []string{"replication", "true"}), "K"},
		{"logical replication", 0, slices.Concat(plain, []string{"replication", "database"}), "K"},
		{"no such database", 0, slices.Concat(user, []string{"database", "nowhere"}), "E"},
		{"no such database, greased version", 9999, slices.Concat(user, []string{"database", "nowhere"}), "E"},
		{"no such parameter", 2, slices.Concat(plain, []string{"nonsense", "1"}), "E"},
		{"bad value", 0, slices.Concat(plain, []string{"TimeZone", "Nowhere/Land"}), "E"},
		{"bad options", 0, slices.Concat(plain, []string{"options", "--nonsense"}), "E"},
		{"parameter for superusers", 0, slices.Concat(plain, []string{"options", "-c log_statement=none"}), "E"},
	}
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				packet := helloPacket(3, c.minor, c.pairs...)
				want, got := hello(t, s.Postgres.Addr(), packet), hello(t, s.addr, packet)
				if !slices.Equal(got, want) {
					t.Errorf("through credproxy: %q\ndirectly: %q", got, want)
				}
				if !slices.ContainsFunc(want, func(m string) bool { return strings.HasPrefix(m, c.has) }) {
					t.Errorf("no message %s in %q", c.has, want)
				}
			})
		}
	})
}

// psql 18 speaks the newest protocol that both sides know.
func TestPostgresProtocolVersion(t *testing.T) {
	eachPostgres(t, servers.PostgresOptions{}, func(t *testing.T, s *pgStand) {
		newest := map[int]string{15: "3.0", 18: "3.2"}[s.Version]
		for asked, want := range map[string]string{"3.0": "3.0", "3.2": newest, "latest": newest} {
			got := psql(t, 18, s.conninfo("max_protocol_version="+asked), `\conninfo`)
			if !slices.Contains(strings.Split(got, "\n"), "Protocol Version|"+want) {
				t.Errorf("%s: no protocol version %s in\n%s", asked, want, got)
			}
		}
	})
}

// Requests for encryption are declined in words that libpq knows, in any order,
// and the session then begins.
func TestPostgresDeclinesEncryption(t *testing.T) {
	ssl, gss := []byte{0, 0, 0, 8, 4, 210, 22, 47}, []byte{0, 0, 0, 8, 4, 210, 22, 48}
	s := newPGServer(t, servers.PostgresOptions{Version: 18})
	s.run(t, secretJSON(s.Postgres, "app", appPassword))
	for _, requests := range [][][]byte{{ssl}, {gss}, {ssl, gss}, {gss, ssl}} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		for _, request := range requests {
			answer := make([]byte, 1)
			if _, err := conn.Write(request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'N' {
				t.Errorf("answer %q, %v", answer, err)
			}
		}
		if _, err := conn.Write(helloPacket(3, 0, "user", "anybody")); err != nil {
			t.Fatal(err)
		}
		ok := make([]byte, 9)
		if _, err := io.ReadFull(conn, ok); err != nil || !bytes.Equal(ok, []byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}) {
			t.Errorf("after %d requests: %q, %v", len(requests), ok, err)
		}
	}
	for _, client := range servers.PostgresVersions() {
		if got := psql(t, client, s.conninfo("gssencmode=prefer sslmode=prefer"), "SELECT current_user"); got != "app" {
			t.Errorf("psql %d: %s", client, got)
		}
	}
}
