package pool_test

import (
	"bufio"
	endian "encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/credproxy/credproxy/integration/sidecar"
)

// rawMySQL is a client that sends the bytes that a test wants it to.
type rawMySQL struct {
	net.Conn
	t  *testing.T
	r  *bufio.Reader
	id uint32 // of the connection, as greeted
}

// Capabilities of a raw client: protocol 4.1, transactions, secure connection, local files,
// multiple statements and results, plugins.
const rawCapabilities = 1<<0 | 1<<7 | 1<<9 | 1<<13 | 1<<15 | 1<<16 | 1<<17 | 1<<19

// raw logs in without a password, with more flags.
func (s *myStand) raw(t *testing.T, more uint32) *rawMySQL {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	c := &rawMySQL{Conn: conn, t: t, r: bufio.NewReader(conn)}
	c.hello(c.packet(), more)
	return c
}

// hello answers the greeting, and reads up to OK.
func (c *rawMySQL) hello(greeting []byte, more uint32) {
	c.t.Helper()
	for i := 1; ; i++ {
		if greeting[i] == 0 {
			c.id = endian.LittleEndian.Uint32(greeting[i+1:])
			break
		}
	}
	b := endian.LittleEndian.AppendUint32(nil, rawCapabilities|more)
	b = append(endian.LittleEndian.AppendUint32(b, 1<<30), 45)
	b = append(append(append(b, make([]byte, 23)...), "anybody\x00\x00"...), "mysql_native_password\x00"...)
	c.send(1, string(b))
	for seq := byte(3); ; seq += 2 {
		p := c.packet()
		switch p[0] {
		case 0xfe:
			c.send(seq, "")
		case 0x00:
			return
		default:
			c.t.Fatalf("login: %q", p)
		}
	}
}

func packet(seq byte, payload string) string {
	return string([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), seq}) + payload
}

func (c *rawMySQL) send(seq byte, payload string) { c.bytes(packet(seq, payload)) }

func (c *rawMySQL) bytes(b string) {
	_, err := io.WriteString(c.Conn, b)
	must(c.t, err)
}

func (c *rawMySQL) packet() []byte {
	c.t.Helper()
	head := make([]byte, 4)
	_, err := io.ReadFull(c.r, head)
	must(c.t, err)
	b := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err = io.ReadFull(c.r, b)
	must(c.t, err)
	return b
}

// connection is the id of the connection, as the client was told, or as the server says.
func (c *rawMySQL) connection(ask bool) string {
	if !ask {
		return strconv.Itoa(int(c.id))
	}
	c.send(0, "\x03SELECT CONNECTION_ID()")
	var row []byte
	for range 4 { // the number of columns, the definition, its end, the row
		row = c.packet()
	}
	c.packet()
	return string(row[1:])
}

// end reads on until the server ends the connection, and ends it too.
func (c *rawMySQL) end() {
	_, _ = io.Copy(io.Discard, c.r)
	_ = c.Close()
}

const quit = "\x01\x00\x00\x00\x01"

// TestMySQLLeaving has clients leave in every way, and looks which of their sessions are used
// again.
func TestMySQLLeaving(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session, max_idle: 5}")
		half := func(c *rawMySQL) { must(t, c.Conn.(*net.TCPConn).CloseWrite()); c.end() }
		query := func(c *rawMySQL, sql string) { c.send(0, "\x03"+sql); c.packet() }
		ways := []struct {
			name  string
			flags uint32
			leave func(c *rawMySQL)
			again bool
		}{
			{"in order", 0, func(c *rawMySQL) { c.bytes(quit); c.end() }, true},
			{"in order, after a command", 0, func(c *rawMySQL) { query(c, "SET @a = 1"); c.bytes(quit); c.end() }, true},
			{"in order, byte for byte", 0, func(c *rawMySQL) {
				query(c, "SET @a = 1")
				for _, b := range quit {
					c.bytes(string(b))
				}
				c.end()
			}, true},
			{"good-bye with the last command", 0, func(c *rawMySQL) { c.bytes(packet(0, "\x03SELECT SLEEP(0.2)") + quit); c.end() }, false},
			{"good-bye behind two commands, answered", 0, func(c *rawMySQL) {
				c.bytes(packet(0, "\x0e") + packet(0, "\x0e"))
				c.packet()
				c.packet()
				c.bytes(quit)
				c.end()
			}, true},
			{"bytes behind good-bye", 0, func(c *rawMySQL) { c.bytes(quit + packet(0, "\x0e")); c.end() }, false},
			{"half a packet behind good-bye", 0, func(c *rawMySQL) { c.bytes(quit + "\x01"); c.end() }, false},
			{"without good-bye", 0, func(c *rawMySQL) { _ = c.Close() }, false},
			{"killed", 0, func(c *rawMySQL) { _ = c.Conn.(*net.TCPConn).SetLinger(0); _ = c.Close() }, false},
			{"half-closed", 0, half, false},
			{"half-closed behind good-bye", 0, func(c *rawMySQL) { c.bytes(quit); half(c) }, true},
			{"within a header", 0, func(c *rawMySQL) { c.bytes("\x05\x00"); half(c) }, false},
			{"within a command", 0, func(c *rawMySQL) { c.bytes("\x09\x00\x00\x00\x03SEL"); half(c) }, false},
			{"good-bye within a command", 0, func(c *rawMySQL) { c.bytes("\x09\x00\x00\x00\x03SEL" + quit); half(c) }, false},
			{"empty packet", 0, func(c *rawMySQL) { c.bytes("\x00\x00\x00\x00"); c.bytes(quit); c.end() }, false},
			{"packet out of order", 0, func(c *rawMySQL) { c.bytes("\x01\x00\x00\x05\x0e" + quit); c.end() }, false},
			{"COM_SET_OPTION", 0, func(c *rawMySQL) { c.send(0, "\x1b\x01\x00"); c.packet(); c.bytes(quit); c.end() }, false},
			{"COM_RESET_CONNECTION", 0, func(c *rawMySQL) { c.send(0, "\x1f"); c.packet(); c.bytes(quit); c.end() }, true},
			{"COM_STATISTICS", 0, func(c *rawMySQL) { c.send(0, "\x09"); c.packet(); c.bytes(quit); c.end() }, true},
			{"an unknown command", 0, func(c *rawMySQL) { c.send(0, "\xf0"); c.packet(); c.bytes(quit); c.end() }, false},
			{"COM_REGISTER_SLAVE", 0, func(c *rawMySQL) {
				c.send(0, "\x15\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
				c.packet()
				c.bytes(quit)
				c.end()
			}, false},
			{"COM_BINLOG_DUMP", 0, func(c *rawMySQL) {
				c.send(0, "\x12\x04\x00\x00\x00\x00\x00\x07\x00\x00\x00x")
				c.packet()
				c.bytes(quit)
				c.end()
			}, false},
			{"COM_CHANGE_USER", 0, func(c *rawMySQL) {
				c.send(0, "\x11anybody\x00\x00\x00\x2d\x00mysql_native_password\x00")
				if p := c.packet(); p[0] == 0xfe {
					c.send(2, "")
				}
				if p := c.packet(); p[0] != 0 {
					t.Errorf("COM_CHANGE_USER: %q", p)
				}
				c.bytes(quit)
				c.end()
			}, false},
			{"a file that is asked for", 0, func(c *rawMySQL) {
				query(c, "LOAD DATA LOCAL INFILE 'x' INTO TABLE app.u")
				c.bytes(quit)
				half(c)
			}, false},
			{"a file that breaks off", 0, func(c *rawMySQL) {
				query(c, "LOAD DATA LOCAL INFILE 'x' INTO TABLE app.u")
				c.send(2, "7\n")
				c.bytes(quit)
				half(c)
			}, false},
			{"long data, and a statement left open", 0, func(c *rawMySQL) {
				c.send(0, "\x16SELECT ?")
				for range 5 {
					c.packet()
				}
				c.send(0, "\x18\x01\x00\x00\x00\x00\x00data")
				c.bytes(quit)
				c.end()
			}, true},
			{"an open transaction", 0, func(c *rawMySQL) { query(c, "BEGIN"); query(c, "INSERT INTO app.u VALUES (1)"); c.bytes(quit); c.end() }, true},
			{"CLIENT_INTERACTIVE", 1 << 10, func(c *rawMySQL) { c.bytes(quit); c.end() }, false},
			{"CLIENT_IGNORE_SPACE", 1 << 8, func(c *rawMySQL) { c.bytes(quit); c.end() }, false},
			{"a database that it has not begun with", 0, func(c *rawMySQL) { query(c, "USE mysql"); c.bytes(quit); c.end() }, true},
		}
		must(t, s.my.Exec(t.Context(), "CREATE TABLE app.u (id INT) ENGINE=InnoDB; SET GLOBAL local_infile = 1"))
		for _, w := range ways {
			c := s.raw(t, w.flags)
			id := c.connection(w.flags != 0)
			w.leave(c)
			sidecar.Await(t, "end of the session's use", func() bool { return s.metric(t, "in_use") == 0 })
			next := s.raw(t, w.flags)
			if again := next.connection(w.flags != 0) == id; again != w.again {
				t.Errorf("%s: used again: %v", w.name, again)
			}
			next.bytes(packet(0, "\x03SELECT COUNT(*) + CONNECTION_ID() FROM app.u"))
			if p := next.packet(); p[0] != 1 {
				t.Errorf("%s: the next client hears %q", w.name, p)
			}
			for range 4 {
				next.packet()
			}
			next.bytes(quit)
			next.end()
			sidecar.Await(t, "end of the session's use", func() bool { return s.metric(t, "in_use") == 0 })
		}
	})
}

// TestMySQLGreetedAmiss has a client greeted with the id of a session that it cannot have:
// nobody else gets that until it leaves.
func TestMySQLGreetedAmiss(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		s := mySQLStand(t, runMySQL(t, flavor), "pool: {mode: session, max_idle: 5}")
		first := s.open(t, nil)
		one := first.ask(t, connectionID)
		s.leave(t, first)
		amiss := s.open(t, func(c *mysql.Config) { c.DBName = "mysql" })
		if got := amiss.ask(t, connectionID); got == one {
			t.Error("it has the session of another database")
		}
		s.proxy.AwaitLog(t, "that it cannot have")
		other := s.open(t, nil)
		if got := other.ask(t, connectionID); got == one {
			t.Error("a client has the session whose id another was told")
		}
		other.close(t)
		s.leave(t, amiss)
		ids := map[string]bool{}
		for range 3 {
			c := s.open(t, nil)
			defer c.close(t)
			ids[c.ask(t, connectionID)] = true
		}
		if !ids[one] {
			t.Errorf("%s was not given back: %v", one, ids)
		}
	})
}
