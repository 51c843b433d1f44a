package integration_test

import (
	"bytes"
	"net"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLBareConnects floods a listener that demands certificates with 10,000
// connections that show none: bare ones, and ones with a handshake response of 1 MiB.
// Holders of a certificate log in all the while, the database hears of nobody else, and
// credproxy's memory is what it was.
func TestMySQLBareConnects(t *testing.T) {
	const total, open = 10000, 300
	files := clientTLSFiles(t)
	my := newMySQL(t, servers.MySQLOptions{Flavor: "mysql", Settings: map[string]string{"max_connections": "50"}})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword))
	w := watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" +
		mySQLEntry("main", arn, "tls: "+tlsYAML("", my.CAFile), files.mutual, "limits: {max_connections: 20}")}, appPassword)
	addr := w.Addr(t, "main")
	proved(t, w.Proxy, "main")
	holder := noPassword(addr, "")
	holder.TLS = clientTLS(t, files, files.cert, files.key)
	logIn := func() error { return logInMySQL(t.Context(), holder) }
	flood := func() (connections, refused int) {
		var conns []net.Conn
		for i := range total {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			if i%100 == 0 {
				big := append([]byte{0, 0, 16, 1}, bytes.Repeat([]byte{0xff}, 1<<20)...)
				go func() { _, _ = conn.Write(big) }()
			}
			if len(conns) > open {
				_ = conns[0].Close()
				conns = conns[1:]
			}
			connections++
			if i%100 == 99 {
				if err := logIn(); err != nil {
					refused++
					t.Logf("after %d: %v", i, err)
				}
			}
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		return connections, refused
	}
	if err := logIn(); err != nil {
		t.Fatal(err)
	}
	flood() // what the process takes for good, it has now
	settled := func() int { return w.liveHeap(t) }
	before, logins := settled(), mySQLStatus(t, my, "Connections")
	connections, refused := flood()
	after := settled()
	t.Logf("%d connections: %d of %d logins of holders failed; memory %d KB before, %d KB after", connections, refused, total/100, before, after)
	if refused > 0 {
		t.Errorf("%d logins of holders failed", refused)
	}
	if after > before+2048 {
		t.Errorf("memory grew from %d KB to %d KB", before, after)
	}
	if n := mySQLStatus(t, my, "Connections") - logins; n > total/100+20 {
		t.Errorf("the database saw %d connections for %d logins", n, total/100)
	}
}

// liveHeap is what the process holds on to after a collection of garbage, in KB, when
// credproxy has no connection left.
func (w *watched) liveHeap(t *testing.T) int {
	t.Helper()
	sidecar.Await(t, "the last connection to end", func() bool { n, err := w.Metric("go_goroutines"); return err == nil && n < 50 })
	if status, _, err := w.Get("/debug/pprof/heap?gc=1"); status != 200 || err != nil {
		t.Fatalf("heap profile: %d, %v", status, err)
	}
	n, err := w.Metric("go_memstats_heap_alloc_bytes")
	if err != nil {
		t.Fatal(err)
	}
	return int(n) >> 10
}
