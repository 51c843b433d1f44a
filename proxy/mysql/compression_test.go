package mysql

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"io"
	"net"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/mysql/wire"
)

// frame is one of a client's, which says of its content that it has claimed bytes.
func frame(number byte, content []byte, claimed int) []byte {
	b := []byte{byte(len(content)), byte(len(content) >> 8), byte(len(content) >> 16), number, byte(claimed), byte(claimed >> 8), byte(claimed >> 16)}
	return append(b, content...)
}

func packed(number byte, b []byte) []byte {
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return frame(number, out.Bytes(), len(b))
}

// unframed reads the frames of an answer: their numbers go on from the client's.
type unframed struct {
	io.Reader
	t      *testing.T
	number byte // of the next
	left   int
}

func (u *unframed) Read(b []byte) (int, error) {
	if u.left == 0 {
		var head [frameHeader]byte
		if _, err := io.ReadFull(u.Reader, head[:]); err != nil {
			return 0, err
		}
		if head[3] != u.number || head[4]|head[5]|head[6] != 0 {
			u.t.Errorf("frame %d, unpacked %d; want %d, 0", head[3], head[4:], u.number)
		}
		u.number++
		u.left = int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	}
	n, err := u.Reader.Read(b[:min(len(b), u.left)])
	u.left -= n
	return n, err
}

// TestCompression has a client set CLIENT_COMPRESS although nobody offered it. From the OK
// on it speaks in frames, the database in packets.
func TestCompression(t *testing.T) {
	big := "\x03" + string(bytes.Repeat([]byte("SELECT '"), 10000))
	r := newRig(t, nil, func(p *scripted) {
		if got := p.greet(realGreeting()); got.Capabilities&mysql.CLIENT_COMPRESS != 0 {
			t.Error("the database was asked to compress")
		}
		p.send(okPacket)
		for { // it answers each command with the command, and lets the user change
			p.Seq = 0
			got := p.payload()
			if got == "" {
				return
			}
			if got[0] == mysql.COM_CHANGE_USER {
				p.send("\xfe" + mysql.AUTH_NATIVE_PASSWORD + "\x00abcdefghijklmnopqrst\x00")
				p.payload()
				got = okPacket
			}
			if got == "\x03COMMIT" {
				got = okPacket
			}
			p.send(got)
		}
	})
	c := newPeer(t, r.Dial(t))
	in := passwordless(mysql.AUTH_CACHING_SHA2_PASSWORD)
	in.Capabilities |= mysql.CLIENT_COMPRESS
	if _, reply := c.login(in); reply != okPacket {
		t.Fatalf("reply %q", reply)
	}
	answer := &unframed{Reader: c.R, t: t}
	reply := func(sent byte) string {
		answer.number = sent
		p := &wire.PacketConn{R: bufio.NewReader(answer), Seq: 1}
		b, err := p.ReadPacket()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	packet := func(payload string) []byte {
		return append([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), 0}, payload...)
	}
	for range 3 {
		c.raw(string(frame(0, packet("\x03SELECT 1"), 0)))
		if got := reply(1); got != "\x03SELECT 1" {
			t.Fatalf("got %q", got)
		}
		c.raw(string(packed(0, packet(big[:wire.MaxLoginPacket/2]))))
		if got := reply(1); got != big[:wire.MaxLoginPacket/2] {
			t.Fatalf("got %d bytes", len(got))
		}
		query := packet("\x03SELECT 'in two frames'")
		c.raw(string(packed(0, query[:9])) + string(packed(1, query[9:])))
		if got := reply(2); got != "\x03SELECT 'in two frames'" {
			t.Fatalf("got %q", got)
		}
		cu := wire.ChangeUser{User: "me", Database: "db", Charset: [2]byte{45}}.Encode(mysql.CLIENT_CONNECT_ATTRS)
		cu = bytes.Replace(cu, []byte(wire.NoPlugin), []byte(mysql.AUTH_NATIVE_PASSWORD), 1)
		c.raw(string(packed(0, packet(string(cu)))))
		if got := reply(1); got[:len("\xfemysql")] != "\xfemysql" {
			t.Fatalf("got %q", got)
		}
		c.raw(string(frame(2, []byte{0, 0, 0, 2}, 0)))
		answer.number = 3
		p := &wire.PacketConn{R: bufio.NewReader(answer), Seq: 3}
		if got, err := p.ReadPacket(); err != nil || string(got) != okPacket {
			t.Fatalf("change of user: %q, %v", got, err)
		}
	}
	c.raw(string(frame(0, packet("\x03COMMIT"), 0)))
	reply(1)
	r.Server.Terminate(fault.ErrShuttingDown(nil))
	if got := reply(1); got[0] != mysql.ERR_HEADER {
		t.Errorf("farewell %q", got)
	}
}

// TestFramesThatLie: what a frame says of its content must hold.
func TestFramesThatLie(t *testing.T) {
	good := packed(0, []byte("twelve bytes"))
	short, long := bytes.Clone(good), bytes.Clone(good)
	short[4], long[4] = 13, 11
	cut := append(frame(0, good[frameHeader:len(good)-3], 12), frame(1, nil, 0)...)
	for name, b := range map[string][]byte{"short": short, "long": long, "cut": cut,
		"no zlib": frame(0, []byte("anything"), 5), "ends in its header": {1, 0, 0}, "ends in its content": good[:len(good)-4]} {
		if got, err := readFrames(b); err == nil {
			t.Errorf("%s: read %q", name, got)
		}
	}
	if got, err := readFrames(append(bytes.Clone(good), frame(1, []byte("!"), 0)...)); err != nil || string(got) != "twelve bytes!" {
		t.Errorf("read %q, %v", got, err)
	}
}

// readFrames reads the content of frames to their end.
func readFrames(b []byte) ([]byte, error) {
	return io.ReadAll(newFramedConn(nothing{}, bytes.NewReader(b)))
}

// nothing is a connection on which nothing comes.
type nothing struct{ net.Conn }

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// FuzzFrames: whatever a client sends for frames, reading it comes to an end, with no more
// than the frames say.
func FuzzFrames(f *testing.F) {
	f.Add(packed(0, []byte("SELECT 1")))
	f.Add(frame(0, []byte("\x01\x00\x00\x00\x0e"), 0))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrames(b)
		claimed := 0
		for rest := b; len(rest) >= frameHeader; {
			size := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
			if unpacked := int(rest[4]) | int(rest[5])<<8 | int(rest[6])<<16; unpacked > 0 {
				claimed += unpacked
			} else {
				claimed += min(size, len(rest)-frameHeader)
			}
			rest = rest[min(len(rest), frameHeader+size):]
		}
		if len(got) > claimed || err == nil && len(got) != claimed {
			t.Fatalf("%d bytes of %d, %v", len(got), claimed, err)
		}
	})
}
