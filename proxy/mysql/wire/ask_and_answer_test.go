package wire

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// frame is a packet.
func frame(seq byte, payload string) []byte {
	return append([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), seq}, payload...)
}

const okPayload = "\x00\x00\x00\x02\x00\x00\x00"

// rows are the packets of an answer: as many, from number 1 on.
func rows(n int) (all []byte) {
	for i := range n {
		all = append(all, frame(byte(i+1), okPayload)...)
	}
	return all
}

func TestIdle(t *testing.T) {
	ping, query := frame(0, "\x0e"), frame(0, "\x03SELECT 1")
	tests := []struct {
		name        string
		ask, answer []byte
		want        bool
	}{
		{"nothing", nil, nil, true},
		{"a command", query, rows(1), true},
		{"a command without its answer", query, nil, false},
		{"two commands, one answer", slices.Concat(query, ping), rows(5), false},
		{"two commands, two answers", slices.Concat(query, ping), slices.Concat(rows(5), rows(1)), true},
		{"an answer too many", query, slices.Concat(rows(5), rows(1)), false},
		{"255 packets", query, rows(255), true},
		{"256 packets, the last of which has number 0", query, rows(256), false},
		{"257 packets", query, rows(257), true},
		{"an answer behind one that ends with number 0", slices.Concat(query, ping), slices.Concat(rows(256), rows(1)), false},
		{"half a header", query, append(rows(1), 1, 0), false},
		{"half a packet", query, append(rows(1), 5, 0, 0, 2, 'x'), false},
		{"half a command", []byte{5, 0, 0, 0, 3}, nil, false},
		{"a file is asked for", query, frame(1, "\xfbfile"), false},
		{"a file", slices.Concat(query, frame(2, "data"), frame(3, "")), slices.Concat(frame(1, "\xfbfile"), frame(4, okPayload)), false},
		{"NULL in a row", query, slices.Concat(frame(1, "\x01"), frame(2, "\xfb"), frame(3, okPayload)), true},
		{"no answer is due", slices.Concat(frame(0, "\x18data"), frame(0, "\x19\x01\x00\x00\x00")), nil, true},
		{"COM_SET_OPTION", frame(0, "\x1b\x00\x00"), rows(1), false},
		{"COM_BINLOG_DUMP", frame(0, "\x12"), rows(1), false},
		{"COM_BINLOG_DUMP_GTID", frame(0, "\x1e"), rows(1), false},
		{"COM_REGISTER_SLAVE", frame(0, "\x15"), rows(1), false},
		{"empty", frame(0, ""), nil, false},
		{"out of order", frame(7, "\x0e"), nil, false},
	}
	for _, tt := range tests {
		for _, step := range []int{1, 3, 1 << 20} {
			var ask ClientCommands
			var answer ServerAnswers
			_, withheld := feed(&ask, append(slices.Clone(tt.ask), quit...), step)
			for chunk := range slices.Chunk(tt.answer, step) {
				answer.Scan(chunk)
			}
			if got := Idle(&ask, &answer, withheld); got != tt.want {
				t.Errorf("%s, %d bytes at a time: idle: %v", tt.name, step, got)
			}
		}
	}
	if Idle(new(ClientCommands), new(ServerAnswers), append(slices.Clone(quit), 1)) {
		t.Error("more than good-bye")
	}
}

// feed shows the scanner b in steps, and returns what it passed and what it withholds; nil: it
// has not stopped.
func feed(c *ClientCommands, b []byte, step int) (passed, withheld []byte) {
	var pending []byte
	for chunk := range slices.Chunk(b, step) {
		pending = append(pending, chunk...)
		pass, stop := c.Scan(pending)
		passed = append(passed, pending[:pass]...)
		pending = slices.Clone(pending[pass:])
		if stop {
			return passed, pending
		}
	}
	return passed, nil
}

func TestLastingAttributes(t *testing.T) {
	pair := func(name, value string) string {
		return string(rune(len(name))) + name + string(rune(len(value))) + value
	}
	in := pair("_pid", "17") + pair("program_name", "x") + pair("_thread", "9")
	if got := LastingAttributes([]byte(in)); string(got) != pair("program_name", "x") {
		t.Errorf("%q", got)
	}
	if got := LastingAttributes([]byte("\x09cut")); string(got) != "\x09cut" {
		t.Errorf("%q", got)
	}
}

func TestAttribute(t *testing.T) {
	const in = "\x04_pid\x0217\x0btraceparent\x03a-b\x04last\x00"
	for name, want := range map[string]string{"traceparent": "a-b", "_pid": "17", "last": "", "trace": "", "": ""} {
		if got := Attribute([]byte(in), name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	for cut := range len(in) - 6 { // before the last one
		if got := Attribute([]byte(in[:cut]), "traceparent"); got != "" && cut < len("\x04_pid\x0217\x0btraceparent\x03a-b") {
			t.Errorf("of %d bytes: %q", cut, got)
		}
	}
}

func FuzzAttribute(f *testing.F) {
	f.Add([]byte("\x04_pid\x0217\x0btraceparent\x03a-b"), "traceparent")
	f.Add([]byte("\xfb\xfc\xff\xff"), "")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		if got := Attribute(b, name); !strings.Contains(string(b), got) {
			t.Errorf("%q is not in %q", got, b)
		}
	})
}

func TestWithSettings(t *testing.T) {
	ok := []byte("\x00\xfc\x01\x01\x00\x02\x40\x00\x00")
	got := WithSettings(ok, mysql.SERVER_STATUS_NO_BACKSLASH_ESCAPED|mysql.SERVER_STATUS_IN_TRANS)
	if string(got) != "\x00\xfc\x01\x01\x00\x00\x42\x00\x00" || ok[5] != 2 {
		t.Errorf("%q, from %q", got, ok)
	}
}

// FuzzIdle is a client that sends anything, and a server that answers as servers do, some
// commands not or not to the end. A session that is called idle must be: every command that
// a server would take has its whole answer, or the next packet of it is not number 1.
func FuzzIdle(f *testing.F) {
	f.Add(frame(0, "\x0e"), []byte{1}, uint8(0), uint16(0))
	f.Add(slices.Concat(frame(0, "\x03a"), frame(0, "\x03b")), []byte{255, 3}, uint8(3), uint16(4))
	f.Add(slices.Concat(frame(0, "\x18a"), frame(0, "\x1b\x01\x00"), quit), []byte{7}, uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, asked, lengths []byte, step uint8, cut uint16) {
		var ask ClientCommands
		passed, withheld := feed(&ask, append(slices.Clone(asked), quit...), int(step)+1)
		if withheld == nil {
			return
		}
		// The server's side, told by a reader of whole packets.
		var all []byte
		var ends []int
		lost := false
		for n := 0; len(passed) > 0 && !lost; {
			if len(passed) < HeaderSize {
				lost = true
				break
			}
			size := int(passed[0]) | int(passed[1])<<8 | int(passed[2])<<16
			if lost = len(passed) < HeaderSize+size || size == 0 || passed[3] != 0; lost {
				break
			}
			what := passed[HeaderSize]
			passed = passed[HeaderSize+size:]
			if what == mysql.COM_STMT_CLOSE || what == mysql.COM_STMT_SEND_LONG_DATA {
				continue
			}
			long := 1
			if n < len(lengths) {
				long += int(lengths[n]) * 2
			}
			n++
			all = append(all, rows(long)...)
			ends = append(ends, len(all))
		}
		sent := all[:min(int(cut), len(all))]
		if cut == 1<<16-1 {
			sent = all
		}
		var answer ServerAnswers
		for chunk := range slices.Chunk(sent, int(step)+1) {
			answer.Scan(chunk)
		}
		if !Idle(&ask, &answer, withheld) {
			return
		}
		if lost {
			t.Fatalf("%q is idle, and no server would say so", asked)
		}
		rest := all[len(sent):]
		if len(rest) > 0 && (len(rest) < HeaderSize || rest[3] == 1) {
			t.Fatalf("%d of %d bytes are answered, the next packet is taken for the answer to a reset", len(sent), len(all))
		}
		if len(ends) > 1 && len(sent) < ends[len(ends)-2] {
			t.Fatalf("an answer before the last is not there: %d bytes of %v", len(sent), ends)
		}
	})
}

// FuzzServerAnswers holds that how a stream is cut makes no difference.
func FuzzServerAnswers(f *testing.F) {
	f.Add(rows(300), uint8(2))
	f.Add(frame(1, "\xfbfile"), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, cut ServerAnswers
		whole.Scan(b)
		for chunk := range slices.Chunk(b, int(step)+1) {
			if pass, stop := cut.Scan(chunk); pass != len(chunk) || stop {
				t.Fatalf("passed %d of %d, stop %v", pass, len(chunk), stop)
			}
		}
		if whole != cut {
			t.Fatalf("%+v, cut: %+v", whole, cut)
		}
	})
}

// FuzzClientCommands holds that how a stream is cut makes no difference, and that what passes
// is what came.
func FuzzClientCommands(f *testing.F) {
	f.Add(slices.Concat(frame(0, "\x03SELECT 1"), quit), uint8(2))
	f.Add(slices.Concat(frame(0, "\x11user"), quit), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, cut ClientCommands
		pass, stop := whole.Scan(b)
		_, withheld := feed(&cut, b, int(step)+1)
		if stop != (withheld != nil) {
			t.Fatalf("stop %v, cut: %q", stop, withheld)
		}
		if stop && !bytes.HasPrefix(b[pass:], withheld) || whole.expected != cut.expected || whole.odd != cut.odd {
			t.Fatalf("withheld %q, cut: %q; %+v, %+v", b[pass:], withheld, whole, cut)
		}
	})
}
