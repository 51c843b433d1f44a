package check

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
	mysql "github.com/credproxy/credproxy/proxy/mysql/wire"
	postgres "github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
)

// TestRightsOfAnEmptyAnswer has something that speaks the protocol answer each statement
// with nothing, as poolers' own databases do.
func TestRightsOfAnEmptyAnswer(t *testing.T) {
	for engine, serve := range map[config.Engine]func(net.Conn){config.Postgres: emptyPostgres, config.MySQL: emptyMySQL} {
		t.Run(string(engine), func(t *testing.T) {
			ln := proxytest.Listen(t)
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				serve(c)
			}()
			c := checker{
				db: &config.Database{Engine: engine}, engine: engine, cred: secrets.NewCredential("app", "x"),
				upstream: &upstream.Dialer{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, DialTimeout: time.Second, Mode: config.Disable, TLS: &tls.Config{}},
			}
			if s := c.rights(t.Context()); s != noAnswer {
				t.Errorf("step %+v", s)
			}
			_ = ln.Close()
			<-served
		})
	}
}

func emptyPostgres(c net.Conn) {
	r := bufio.NewReader(c)
	_, _ = postgres.ReadPacket(r)
	frame := func(kind byte, body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
	}
	ready := frame('Z', "I")
	_, _ = c.Write(append(frame('R', "\x00\x00\x00\x00"), ready...))
	if _, err := postgres.ReadMessage(r); err == nil {
		_, _ = c.Write(append(frame('I', ""), ready...))
	}
	_, _ = postgres.ReadMessage(r) // good-bye
}

func emptyMySQL(c net.Conn) {
	p := mysql.NewPacketConn(c)
	g := mysql.Greeting{Version: "8.0.0", ID: 7, Salt: []byte("abcdefghijklmnopqrst"), Plugin: "mysql_native_password"}
	g.Capabilities = 1<<9 | 1<<15 | 1<<19 // protocol 4.1, its authentication, plugins
	_ = p.WritePacket(g.Encode())
	const ok = "\x00\x00\x00\x02\x00\x00\x00"
	for range 2 { // the login, a statement
		if _, err := p.ReadPacket(); err != nil {
			return
		}
		_ = p.WritePacket([]byte(ok))
		p.Seq = 0
	}
	_, _ = p.ReadPacket() // good-bye
}
