package daemon

import (
	"net"
	"strconv"
	"testing"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy"
	"github.com/credproxy/credproxy/wiring"
)

// at is an open listener, which nobody needs to open.
type at struct {
	proxy.Listener
	addr *net.TCPAddr
}

func (l at) Addr() net.Addr { return l.addr }

// TestDefaultPort: a database that lists no address takes over the one that it had,
// however that was written, goes past those of others and those reserved, and keeps its port.
func TestDefaultPort(t *testing.T) {
	cfg := &config.Config{Databases: []config.Database{{Name: "orders"}, {Name: "other", Listen: []string{"127.0.0.1:5433"}}, {Name: "late"}}}
	db := func(name string) *database {
		return &database{cfg: &config.Database{Name: name, Engine: config.Postgres}}
	}
	l := &listeners{open: map[string]*listener{}, defaults: map[string]int{}}
	open := func(port int, owner string) {
		for _, host := range config.Loopback {
			ln := at{addr: &net.TCPAddr{IP: net.ParseIP(host), Port: port}}
			l.open[ln.addr.String()] = &listener{Listener: ln, key: ln.addr.String(), owner: db(owner)}
		}
	}
	open(5432, "orders") // which listed it until now
	open(5433, "other")
	open(5434, "late")
	reserved := 0
	takes := func(name string, want int) {
		t.Helper()
		d := db(name)
		d.reserved = reserved
		if err := l.listenDefault(t.Context(), d, cfg); err != nil {
			t.Fatal(err)
		}
		if len(d.listeners) != len(config.Loopback) {
			t.Errorf("%s has %d listeners", name, len(d.listeners))
		}
		for _, ln := range d.listeners {
			if got := ln.Addr().(*net.TCPAddr).Port; got != want {
				t.Errorf("%s listens on %s, want port %d", name, ln.Addr(), want)
			}
		}
	}
	takes("orders", 5432)
	takes("late", 5434)
	delete(l.open, "127.0.0.1:5432") // orders goes
	delete(l.open, "[::1]:5432")
	takes("late", 5434)
	reserved = 1 // 5432, for one whose engine is not known yet
	takes("newcomer", 5435)
}

// TestPortsOfFoundDatabases: one that was found keeps its port when it goes and comes back, also
// if it could not listen there, until a configuration gives that to another.
func TestPortsOfFoundDatabases(t *testing.T) {
	cfg := &config.Config{}
	l := &listeners{open: map[string]*listener{}, defaults: map[string]int{}}
	takes := func(name string, found bool, want int) {
		t.Helper()
		db := &database{cfg: &config.Database{Name: name, Engine: config.MySQL}, fileConfig: config.Database{Found: found}}
		key, port := l.defaultPort(db, cfg)
		if port != want {
			t.Errorf("%s gets port %d, want %d", name, port, want)
		}
		l.defaults[key] = port
	}
	takes("a", true, 3306)
	takes("b", true, 3307) // and none of them is open
	takes("a", true, 3306)
	takes("mine", false, 3306) // a database of the file goes first
	cfg.Databases = []config.Database{{Name: "other", Listen: []string{"127.0.0.1:3307", "unix:/x"}}}
	takes("b", true, 3308)
	takes("a", true, 3309) // mine has its port
	for i := range maxDefaults {
		l.defaults[strconv.Itoa(i)] = 10_000 + i
	}
	takes("c", true, 3306)
	if len(l.defaults) != 1 {
		t.Errorf("%d ports are remembered", len(l.defaults))
	}

	db := &database{listeners: []*listener{{Listener: at{addr: &net.TCPAddr{Port: 3307}}}}}
	if !db.displaced(cfg) || db.displaced(&config.Config{}) {
		t.Error("whether its port was given to another")
	}
	if db.fileConfig.Listen = []string{"127.0.0.1:3307"}; db.displaced(cfg) {
		t.Error("displaced from a port that it lists")
	}
}

// TestLoopbackIsOneListener: where one of the addresses is somebody else's, the other is not
// kept open, where clients would wait for nobody.
func TestLoopbackIsOneListener(t *testing.T) {
	taken, err := net.Listen("tcp", net.JoinHostPort(config.Loopback[1], "0"))
	if absent(err) {
		return // and no other one to be had
	}
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := &listeners{open: map[string]*listener{}, defaults: map[string]int{}}
	db := &database{cfg: &config.Database{Name: "orders", Engine: config.Postgres}}
	port := taken.Addr().(*net.TCPAddr).Port
	if err := l.listenLoopback(t.Context(), db, port); err == nil {
		t.Error("no error")
	}
	if len(db.listeners) > 0 || len(l.open) > 0 {
		t.Errorf("left open: %v", l.open)
	}
	free, err := net.Listen("tcp", net.JoinHostPort(config.Loopback[0], strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
}

func TestCanonical(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:5432": "127.0.0.1:5432", "127.0.0.1:5432": "127.0.0.1:5432", "[::1]:3306": "[::1]:3306",
		":5432": "[::]:5432", "0.0.0.0:5432": "[::]:5432", "[::]:5432": "[::]:5432", "localhost:postgresql": "127.0.0.1:5432",
		"[::ffff:127.0.0.1]:5432": "127.0.0.1:5432",
		"unix:/run/x":             "unix:/run/x", "unix:/run/y/../x": "unix:/run/x", "unix:/run//x": "unix:/run/x", "nowhere.invalid:1": "nowhere.invalid:1",
	} {
		if got := wiring.Canonical(addr); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
}
