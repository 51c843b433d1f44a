package integration_test

import (
	"bufio"
	"bytes"
	endian "encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// capsStand is a server that takes logins in the clear, two databases of
// credproxy before it (bare without a default database), and an eye on what
// credproxy answers to the server's greeting.
type capsStand struct {
	my         *servers.MySQL
	main, bare string // addresses
	seen       chan []byte
}

func newCapsStand(t *testing.T, flavor string) *capsStand {
	t.Helper()
	s := &capsStand{my: servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, NoTLS: true}), seen: make(chan []byte, 1)}
	if err := s.my.CreateUser(t.Context(), "app", appPassword, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.my.CreateUser(t.Context(), "direct", "", ""); err != nil {
		t.Fatal(err)
	}
	tee := between(t, s.my.Addr(), func(client, server net.Conn) {
		splice(&eavesdropped{Conn: client, heard: s.seen}, server)
	})
	aws := startAWS(t, awsstub.Options{})
	_, port, _ := net.SplitHostPort(tee)
	secret := fmt.Sprintf(`{"engine":%q,"host":"127.0.0.1","port":%s,"username":"app","password":%q`, flavor, port, appPassword)
	config := "databases:\n" +
		database("main", fmt.Sprintf("secrets_manager: {secret_id: %q}", aws.CreateSecret("main", secret+`,"dbname":"app"}`)), mySQLLink("disable", "")) +
		database("bare", fmt.Sprintf("secrets_manager: {secret_id: %q}", aws.CreateSecret("bare", secret+`}`)), mySQLLink("disable", ""))
	p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
	for range 2 { // credproxy's own logins
		<-s.seen
	}
	s.main, s.bare = p.Addr(t, "main"), p.Addr(t, "bare")
	return s
}

// eavesdropped tells the payload of the first packet that comes from Conn.
type eavesdropped struct {
	net.Conn
	heard chan<- []byte
	first []byte
	told  bool
}

func (e *eavesdropped) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if e.told {
		return n, err
	}
	e.first = append(e.first, b[:n]...)
	if len(e.first) < 4 {
		return n, err
	}
	if size := int(e.first[0]) | int(e.first[1])<<8 | int(e.first[2])<<16; len(e.first) >= 4+size {
		e.told = true
		e.heard <- e.first[4 : 4+size]
	}
	return n, err
}

// capSets are those a client sends: each of the 32 bits alone, those that it
// would send to this server, all, and random ones.
func capSets(offered uint64) (sets []uint64) {
	for bit := range 32 {
		sets = append(sets, 1<<bit)
	}
	sets = append(sets, 0, offered, 1<<32-1, usualCaps)
	random := rand.New(rand.NewPCG(3, 1995))
	for i := range 60 {
		set := random.Uint64() & (1<<32 - 1)
		if i%2 == 0 {
			set &= offered
		}
		sets = append(sets, set)
	}
	// MariaDB's extended ones, which go with the lack of LONG_PASSWORD.
	if extended := offered &^ (1<<32 - 1); extended != 0 {
		for bit := 32; bit < 64; bit++ {
			sets = append(sets, 1<<bit, usualCaps&^capLongPassword|1<<bit)
		}
		for range 20 {
			sets = append(sets, random.Uint64()&^capLongPassword, random.Uint64()&offered&^capLongPassword)
		}
	}
	for i := range sets {
		sets[i] |= capProtocol41
	}
	return sets
}

// changedCaps are those that say how to log in, not what follows.
const changedCaps = capSSL | capCompress | capZstd | capPluginAuth | capLenencAuth | capSecureConnection

func TestMySQLCapabilities(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := newCapsStand(t, flavor)
		offered := s.sameGreeting(t)
		for i, caps := range capSets(offered) {
			h := mysqlHello{caps: caps, charset: 45, user: "anybody", database: "app", plugin: "caching_sha2_password"}
			h.attrs = []byte("\x04name\x05value")
			if i%10 == 0 {
				h.attrs = slices.Concat([]byte("\x04name\xfd\x60\xea\x00"), bytes.Repeat([]byte("v"), 60000))
			}
			if caps&capConnectWithDB == 0 {
				h.database = ""
			}
			for j := range h.filler {
				h.filler[j] = byte(i + j)
			}
			if caps&(capZstd|capCompress) == capZstd {
				s.noZstd(t, h)
			} else {
				s.check(t, h, i%2 == 0)
			}
			if t.Failed() {
				return
			}
		}
	})
}

// sameGreeting compares what credproxy and the server say to a client, and
// returns what the server offers.
func (s *capsStand) sameGreeting(t *testing.T) (offered uint64) {
	t.Helper()
	want := rawLogin(t, s.my.Addr(), mysqlHello{caps: usualCaps, user: "direct"}).greeting
	offered = want.caps
	want.caps &^= capSSL | capCompress | capZstd
	c := rawLogin(t, s.main, mysqlHello{caps: usualCaps, user: "anybody"})
	<-s.seen
	if id := c.value("SELECT CONNECTION_ID()"); id != fmt.Sprint(c.greeting.id) {
		t.Errorf("the connection's id is %s, the client was told %d", id, c.greeting.id)
	}
	c.greeting.id = want.id
	if c.greeting != want {
		t.Errorf("greeting through credproxy %+v\ndirect %+v", c.greeting, want)
	}
	return offered
}

// noZstd logs in with h, which asks for what was not offered and cannot be had.
func (s *capsStand) noZstd(t *testing.T, h mysqlHello) {
	t.Helper()
	conn := dial(t, s.main)
	defer conn.Close()
	c := &rawMySQL{Conn: conn, t: t, r: bufio.NewReader(conn), hello: h}
	c.packet()
	c.send(h.encode())
	if got := mysqlError(c.packet()); !strings.Contains(got, "CLIENT_ZSTD_COMPRESSION_ALGORITHM") {
		t.Errorf("client with %#x is told %s", h.caps, got)
	}
	<-s.seen // the end in order of the connection that was greeted
}

// check logs in with h through credproxy, with a default database or without
// one, and in the same way directly.
func (s *capsStand) check(t *testing.T, h mysqlHello, defaultDatabase bool) {
	t.Helper()
	addr, want := s.bare, h
	want.caps &^= changedCaps
	if defaultDatabase {
		addr, want.database = s.main, "app"
		want.caps |= capConnectWithDB
	}
	through := rawLogin(t, addr, h)
	defer through.Close()
	seen := parseHello(t, <-s.seen)
	want.user, want.plugin = "app", seen.plugin
	want.caps |= capSecureConnection | through.greeting.caps&(capPluginAuth|capLenencAuth)
	if want.caps&capConnectAttrs == 0 {
		want.attrs = nil
	}
	if fmt.Sprintf("%#x", seen) != fmt.Sprintf("%#x", want) {
		t.Errorf("client sends %.300s\nserver sees %.300s\nnot %.300s", fmt.Sprintf("%#x", h), fmt.Sprintf("%#x", seen), fmt.Sprintf("%#x", want))
	}
	want.user, want.plugin = "direct", "caching_sha2_password"
	direct := rawLogin(t, s.my.Addr(), want)
	defer direct.Close()
	compareCaps(t, through, direct)
}

// compareCaps runs the same commands on both connections, which must get the
// same answers to the byte.
func compareCaps(t *testing.T, through, direct *rawMySQL) {
	t.Helper()
	same := func(what string) {
		t.Helper()
		if !bytes.Equal(through.heard, direct.heard) {
			t.Errorf("client with %#x: %s:\n%q, but directly\n%q", through.hello.caps, what, through.heard, direct.heard)
		}
	}
	if !bytes.Equal(through.ok, direct.ok) {
		t.Errorf("client with %#x: login OK %q, but directly %q", through.hello.caps, through.ok, direct.ok)
	}
	read := func() {
		const result = "SELECT 1 AS number, 'one' AS word UNION SELECT 2, NULL UNION SELECT 3, 'three'"
		columns, rows, end := through.rows(result)
		direct.rows(result)
		same(result)
		if got := fmt.Sprint(columns, rows); got != "[number word] [[1 one] [2 NULL] [3 three]]" || end[0] != 0xfe {
			t.Errorf("client with %#x: %s, %q", through.hello.caps, got, end)
		}
	}
	read()
	for _, sql := range []string{"SET NAMES latin1", "BEGIN", "USE information_schema", "SELECT nothing", "COMMIT"} {
		through.query(sql)
		direct.query(sql)
		same(sql)
	}
	got, want := through.changeUser("anybody", through.hello.database), direct.changeUser("direct", direct.hello.database)
	if !bytes.Equal(got, want) {
		t.Errorf("client with %#x: change of user: %q, but directly %q", through.hello.caps, got, want)
	}
	read()
}

// parseHello is the opposite of mysqlHello.encode, whatever the password.
func parseHello(t testing.TB, payload []byte) mysqlHello {
	t.Helper()
	f := field{t, payload}
	h := mysqlHello{caps: uint64(endian.LittleEndian.Uint32(f.take(4)))}
	if size := endian.LittleEndian.Uint32(f.take(4)); size != 1<<30 {
		t.Errorf("largest packet %d", size)
	}
	h.charset = f.take(1)[0]
	copy(h.filler[:], f.take(len(h.filler)))
	h.caps |= uint64(endian.LittleEndian.Uint32(f.take(4))) << 32
	h.user = f.text()
	if h.caps&(capLenencAuth|capSecureConnection) == 0 {
		t.Errorf("a password without a length from %#x", h.caps)
	}
	f.counted()
	if h.caps&capConnectWithDB != 0 {
		h.database = f.text()
	}
	if h.caps&capPluginAuth != 0 {
		h.plugin = f.text()
	}
	if h.caps&capConnectAttrs != 0 {
		h.attrs = []byte(f.counted())
	}
	if len(f.b) > 0 {
		t.Errorf("%q after the end", f.b)
	}
	return h
}
