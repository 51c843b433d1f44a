package integration_test

import (
	endian "encoding/binary"
	"net"
	"testing"
	"time"
)

// dial connects to credproxy without speaking its protocol. The connection ends
// with the test at the latest.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn.(*net.TCPConn)
}

// sslRequest asks for TLS (section "Message Formats").
var sslRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}

// simpleQuery is a Query message.
func simpleQuery(sql string) []byte {
	b := append([]byte{'Q', 0, 0, 0, 0}, sql...)
	b = append(b, 0)
	endian.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}
