package integration_test

import (
	"bufio"
	"bytes"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
)

// Capabilities (page "Capabilities Flags"; from bit 32 on MariaDB's extended
// ones, which travel in bytes that MySQL reserves).
const (
	capLongPassword     = 1 << 0 // not sent by a client that speaks of MariaDB's
	capConnectWithDB    = 1 << 3
	capCompress         = 1 << 5
	capLocalFiles       = 1 << 7
	capProtocol41       = 1 << 9
	capInteractive      = 1 << 10
	capSSL              = 1 << 11
	capTransactions     = 1 << 13
	capSecureConnection = 1 << 15
	capMultiResults     = 1 << 17
	capPSMultiResults   = 1 << 18
	capPluginAuth       = 1 << 19
	capConnectAttrs     = 1 << 20
	capLenencAuth       = 1 << 21
	capSessionTrack     = 1 << 23
	capDeprecateEOF     = 1 << 24
	capOptionalMetadata = 1 << 25
	capZstd             = 1 << 26
	capQueryAttributes  = 1 << 27
	capExtendedMetadata = 1 << 35
	capCacheMetadata    = 1 << 36
)

// usualCaps are about those of a client library.
const usualCaps = capLongPassword | capLocalFiles | capProtocol41 | capTransactions | capSecureConnection |
	capMultiResults | capPluginAuth | capConnectAttrs | capSessionTrack | capDeprecateEOF

// mysqlHello is what a client says of itself (page
// "Protocol::HandshakeResponse41"). It has no password.
type mysqlHello struct {
	caps     uint64
	charset  byte
	filler   [19]byte
	user     string
	database string
	plugin   string
	attrs    []byte // without their length
}

func (h mysqlHello) encode() []byte {
	b := endian.LittleEndian.AppendUint32(nil, uint32(h.caps))
	b = endian.LittleEndian.AppendUint32(b, 1<<30) // the largest packet
	b = append(append(b, h.charset), h.filler[:]...)
	b = endian.LittleEndian.AppendUint32(b, uint32(h.caps>>32))
	b = append(append(b, h.user...), 0)
	b = append(b, 0) // an empty password, however it is encoded
	if h.caps&capConnectWithDB != 0 {
		b = append(append(b, h.database...), 0)
	}
	if h.caps&capPluginAuth != 0 {
		b = append(append(b, h.plugin...), 0)
	}
	if h.caps&capConnectAttrs != 0 {
		b = h.appendAttrs(b)
	}
	if h.caps&capZstd != 0 {
		b = append(b, 3) // the level
	}
	return b
}

func (h mysqlHello) appendAttrs(b []byte) []byte {
	n := len(h.attrs)
	return append(append(b, 0xfd, byte(n), byte(n>>8), byte(n>>16)), h.attrs...)
}

// mysqlGreeting is a server's first packet (page "Protocol::HandshakeV10").
type mysqlGreeting struct {
	version  string
	id       uint32 // of the connection
	caps     uint64
	charset  byte
	status   uint16
	reserved [6]byte
	plugin   string
}

func parseMySQLGreeting(t testing.TB, payload []byte) mysqlGreeting {
	t.Helper()
	f := field{t, payload[1:]}
	g := mysqlGreeting{version: f.text(), id: endian.LittleEndian.Uint32(f.take(4))}
	f.take(9) // salt
	low := f.take(2)
	g.charset = f.take(1)[0]
	g.status = endian.LittleEndian.Uint16(f.take(2))
	high := f.take(2)
	f.take(1)
	copy(g.reserved[:], f.take(6))
	extended := f.take(4)
	f.take(13) // salt
	g.plugin = f.text()
	g.caps = uint64(endian.LittleEndian.Uint16(low)) | uint64(endian.LittleEndian.Uint16(high))<<16
	if g.caps&capLongPassword == 0 { // MariaDB
		g.caps |= uint64(endian.LittleEndian.Uint32(extended)) << 32
	}
	return g
}

// rawMySQL is a MySQL client that says just what a test wants it to.
type rawMySQL struct {
	net.Conn
	t        testing.TB
	r        *bufio.Reader
	seq      byte
	heard    []byte // since the last command, with headers
	greeting mysqlGreeting
	hello    mysqlHello
	ok       []byte  // that ended the login
	frames   *frames // after a login with capCompress
}

// rawLogin logs in.
func rawLogin(t testing.TB, addr string, h mysqlHello) *rawMySQL {
	t.Helper()
	conn := dial(t, addr)
	c := &rawMySQL{Conn: conn, t: t, r: bufio.NewReader(conn), hello: h}
	c.greeting = parseMySQLGreeting(t, c.packet())
	c.send(h.encode())
	if c.ok = c.loggedIn(c.packet()); c.ok[0] != 0 {
		t.Fatalf("%s: login with %#x: %q", addr, h.caps, c.ok)
	}
	if h.caps&capCompress != 0 {
		c.frames = &frames{Conn: conn}
		c.Conn, c.r = c.frames, bufio.NewReader(c.frames)
	}
	return c
}

// frames is the compressed protocol without compression (page "Compression"), as a client
// speaks it.
type frames struct {
	net.Conn
	number byte // of the next
	left   int  // bytes to come of the last
}

func (f *frames) Read(b []byte) (int, error) {
	for f.left == 0 {
		var head [7]byte
		if _, err := io.ReadFull(f.Conn, head[:]); err != nil {
			return 0, err
		}
		if unpacked := [3]byte(head[4:]); head[3] != f.number || unpacked != [3]byte{} {
			return 0, fmt.Errorf("frame %d where %d is due, packed %v", head[3], f.number, unpacked)
		}
		f.number++
		f.left = int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	}
	n, err := f.Conn.Read(b[:min(len(b), f.left)])
	f.left -= n
	return n, err
}

func (f *frames) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 1<<20)
		if _, err := f.Conn.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), f.number, 0, 0, 0}, rest[:n]...)); err != nil {
			return 0, err
		}
		f.number++
		rest = rest[n:]
	}
	return len(b), nil
}

// loggedIn answers what the server asks, without a password, until it says OK or
// an error.
func (c *rawMySQL) loggedIn(p []byte) []byte {
	c.t.Helper()
	for {
		switch p[0] {
		case 0xfe: // AuthSwitchRequest
			c.send(nil)
		case 0x01: // AuthMoreData: fast authentication was enough
		default:
			return p
		}
		p = c.packet()
	}
}

// changeUser sends a COM_CHANGE_USER without a password and returns the OK or the
// error that ends it.
func (c *rawMySQL) changeUser(user, database string) []byte {
	c.t.Helper()
	b := append([]byte(user), 0, 0)
	b = append(append(b, database...), 0, c.hello.charset, 0)
	if c.has(capPluginAuth) {
		b = append(append(b, c.hello.plugin...), 0)
	}
	if c.has(capConnectAttrs) {
		b = c.hello.appendAttrs(b)
	}
	return c.loggedIn(c.command(comChangeUser, b))
}

// has reports whether server and client agree on a capability.
func (c *rawMySQL) has(capability uint64) bool {
	agreed := c.hello.caps & c.greeting.caps
	if c.hello.caps&capLongPassword != 0 {
		agreed &= 1<<32 - 1
	}
	return agreed&capability != 0
}

// send sends a payload as one or, from 16 MiB - 1 on, more packets.
func (c *rawMySQL) send(payload []byte) {
	c.t.Helper()
	for {
		n := min(len(payload), 1<<24-1)
		head := []byte{byte(n), byte(n >> 8), byte(n >> 16), c.seq}
		c.seq++
		if _, err := c.Write(append(head, payload[:n]...)); err != nil {
			c.t.Fatal(err)
		}
		if payload = payload[n:]; n < 1<<24-1 {
			return
		}
	}
}

// packet reads one packet.
func (c *rawMySQL) packet() []byte {
	c.t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.r, head); err != nil {
		c.t.Fatalf("waiting for packet %d: %v", c.seq, err)
	}
	payload := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	if _, err := io.ReadFull(c.r, payload); err != nil || head[3] != c.seq || len(payload) == 0 {
		c.t.Fatalf("packet %d where %d is due, %d bytes, %v", head[3], c.seq, len(payload), err)
	}
	c.seq++
	c.heard = append(append(c.heard, head...), payload...)
	return payload
}

// rest is all that comes until the server ends the connection, in order or by a
// reset, as MariaDB does at times.
func (c *rawMySQL) rest() []byte {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatal(err)
	}
	return b
}

// field takes a payload apart from the front.
type field struct {
	t testing.TB
	b []byte
}

func (f *field) take(n int) []byte {
	f.t.Helper()
	if n > len(f.b) {
		f.t.Fatalf("%d bytes where %d are due", len(f.b), n)
	}
	out := f.b[:n]
	f.b = f.b[n:]
	return out
}

func (f *field) text() string {
	f.t.Helper()
	s, rest, found := bytes.Cut(f.b, []byte{0})
	if !found {
		f.t.Fatalf("%q does not end", f.b)
	}
	f.b = rest
	return string(s)
}

// counted takes a length-encoded string of less than 64 KiB, or NULL.
func (f *field) counted() string {
	f.t.Helper()
	switch n := f.take(1)[0]; n {
	case 0xfb:
		return null
	case 0xfc:
		return string(f.take(int(endian.LittleEndian.Uint16(f.take(2)))))
	default:
		return string(f.take(int(n)))
	}
}
