package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// abused is a credproxy that is treated badly while a good client goes on
// logging in, and that must be afterwards what it was before.
type abused struct {
	*watched
	pg     *servers.Postgres
	addr   string
	before map[string]float64

	stop atomic.Bool
	good sync.WaitGroup
}

// resources are metrics of the process, with how much more of each it may have
// after the abuse than before. The race detector and the allocator keep memory.
var resources = map[string]float64{
	"go_goroutines":                 2,
	"process_open_fds":              2,
	"go_memstats_heap_inuse_bytes":  24 << 20,
	"process_resident_memory_bytes": 160 << 20,
}

func newAbused(t *testing.T, more ...string) *abused {
	t.Helper()
	a := &abused{pg: newPostgres(t, servers.PostgresOptions{Version: 15})}
	aws := startAWS(t, awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey}}})
	arn := aws.CreateSecret("prod/main", secretJSON(a.pg, "app", appPassword))
	more = append(more, "tls: "+tlsYAML("", a.pg.CAFile))
	a.watched = watch(t, sidecar.Options{Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, more...)}, appPassword, secretAccessKey)
	a.addr = a.Addr(t, "main")
	if err := a.logIn(t.Context(), a.addr, "postgres"); err != nil {
		t.Fatal(err)
	}
	a.quiet(t)
	a.before = a.resources(t)
	a.good.Go(func() {
		for pause := time.NewTicker(20 * time.Millisecond); !a.stop.Load(); <-pause.C {
			if err := a.logIn(t.Context(), a.addr, "postgres"); err != nil {
				t.Errorf("a good client meanwhile: %v", err)
				return
			}
		}
	})
	return a
}

// quiet waits until no session is left, at credproxy and at the server.
func (a *abused) quiet(t *testing.T) {
	t.Helper()
	awaitMetric(t, a.Proxy, 0, "credproxy_connections_active")
	super, err := a.pg.Superuser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(t.Context())
	sidecar.Await(t, "the server's sessions to end", func() bool {
		return ask(t, super, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == "0"
	})
}

func (a *abused) resources(t *testing.T) map[string]float64 {
	t.Helper()
	now := map[string]float64{}
	for name := range resources {
		value, err := a.Metric(name)
		if err != nil {
			t.Fatal(err)
		}
		now[name] = value
	}
	return now
}

// recovered ends the good client and checks that all is as it was.
func (a *abused) recovered(t *testing.T) {
	t.Helper()
	a.stop.Store(true)
	a.good.Wait()
	a.quiet(t)
	var now map[string]float64
	back := func() bool {
		now = a.resources(t)
		for name, slack := range resources {
			if now[name] > a.before[name]+slack {
				return false
			}
		}
		return true
	}
	if !eventually(40*time.Second, back) {
		t.Errorf("resources after the abuse: %v\nbefore: %v", now, a.before)
	}
	if err := a.logIn(t.Context(), a.addr, "postgres"); err != nil {
		t.Errorf("a good client afterwards: %v", err)
	}
	t.Logf("before %v\nafter  %v", a.before, now)
}

// reset closes a connection with RST instead of FIN.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// finish closes a connection with FIN, and leaves nobody to answer to.
func finish(conn *net.TCPConn) { _ = conn.Close() }

// garbage is what lands on a port that is open to a machine's processes.
func garbage(i int) []byte {
	switch i % 6 {
	case 0:
		b := make([]byte, 1+i%512)
		_, _ = rand.Read(b)
		return b
	case 1:
		return []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	case 2: // the head of a TLS ClientHello
		return append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 501)...)
	case 3: // a startup packet that ends early
		return helloPacket(3, 0, "user", "app", "database", "postgres")[:9+i%20]
	case 4: // one whose length is wrong, and a wrong protocol
		return []byte{0, 0, 0, 16, 0, 2, 0, 0, 'u', 's', 'e', 'r', 0, 0, 0, 0}
	}
	return append(append([]byte{}, sslRequest...), sslRequest...) // asked twice
}

// TestGarbage opens 10,000 connections that send what is no login.
func TestGarbage(t *testing.T) {
	a := newAbused(t)
	const clients, each = 8, 1250
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := range each {
				a.throw(t, c*each+i)
			}
		})
	}
	all.Wait()
	a.recovered(t)
	ended, err := a.Metric("credproxy_connections_total", `result="client_protocol"`)
	if err != nil || ended < clients*each/4 {
		t.Errorf("%v connections that did not keep to the protocol, %v", ended, err)
	}
	if strings.Contains(a.Log(), "panic") {
		t.Error("credproxy had a panic")
	}
}

func (a *abused) throw(t *testing.T, i int) {
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Errorf("connection %d: %v", i, err)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = conn.Write(garbage(i))
	if i%3 == 0 {
		reset(conn.(*net.TCPConn))
		return
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) || len(answer) > 1024 {
		t.Errorf("connection %d is answered %q, %v", i, answer, err)
	}
	_ = conn.Close()
}

// TestSlowClients has hundreds of clients trickle their startup packets. They
// are cut off after login_timeout, and hinder nobody.
func TestSlowClients(t *testing.T) {
	const clients = 400
	a := newAbused(t, "limits: {max_connections: 200, login_timeout: 4s}")
	packet := helloPacket(3, 0, "user", "app", "options", strings.Repeat("x", 4000))
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			conn, err := net.Dial("tcp", a.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if !trickle(ctx, conn, packet) {
				t.Error("a slow client was not cut off")
			}
		})
	}
	all.Wait()
	a.recovered(t)
	if slow, err := a.Metric("credproxy_connections_total", `result="client_timeout"`); err != nil || slow < clients {
		t.Errorf("%v of %d clients were too slow, %v", slow, clients, err)
	}
}

// trickle sends packet a byte at a time until the connection is closed, and
// reports whether it was.
func trickle(ctx context.Context, conn net.Conn, packet []byte) (cut bool) {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		close(gone)
	}()
	for i := 0; ; i++ {
		select {
		case <-gone:
			return true
		case <-ctx.Done():
			return false
		case <-pause.C:
			_, _ = conn.Write(packet[i : i+1])
		}
	}
}

// TestNoFileDescriptors leaves credproxy without a file descriptor to accept
// with. It says so, not in a loop, and goes on when there are some again.
func TestNoFileDescriptors(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"few": fmt.Sprintf("#!/bin/sh\nulimit -n 48\nexec %s \"$@\"\n", binary)})
	few := filepath.Join(dir, "few")
	if err := os.Chmod(few, 0o700); err != nil {
		t.Fatal(err)
	}
	w := watch(t, sidecar.Options{Binary: few, Env: aws.Env(), Config: "databases:\n" + smDatabase("main", arn, "tls: "+tlsYAML("", pg.CAFile))}, appPassword)
	addr := w.Addr(t, "main")
	if err := w.logIn(t.Context(), addr, "postgres"); err != nil {
		t.Fatal(err)
	}
	var conns []*net.TCPConn
	for range 80 {
		conns = append(conns, dial(t, addr))
	}
	w.AwaitLog(t, "accept failed; trying again")
	for _, conn := range conns {
		reset(conn)
	}
	w.recovers(t, "main", "postgres")
	if n := strings.Count(w.Log(), "accept failed"); n > 20 {
		t.Errorf("%d lines about accepting", n)
	}
}
