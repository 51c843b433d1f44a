package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// scanAll shows a stream to scan in the pieces that cuts tell, as a relay does: what was not
// passed is shown again with what follows. It returns what was passed and what was held back.
func scanAll(t testing.TB, scan func([]byte) (int, bool), stream []byte, cuts []int) (passed, withheld []byte) {
	t.Helper()
	var rest []byte
	for _, at := range append(cuts, len(stream)) {
		n := at - len(passed) - len(rest)
		if n <= 0 {
			continue
		}
		shown := append(rest, stream[at-n:at]...)
		pass, stop := scan(bytes.Clone(shown))
		if pass < 0 || pass > len(shown) || !stop && len(shown)-pass >= headerSize {
			t.Fatalf("%d of %d bytes passed, stop %v", pass, len(shown), stop)
		}
		passed, rest = append(passed, shown[:pass]...), shown[pass:]
		if stop {
			return passed, append(rest, stream[at:]...)
		}
	}
	return passed, rest
}

// messages parses a stream in the plainest way. whole tells whether all of it is messages.
func messages(stream []byte) (all []Message, whole bool) {
	for len(stream) >= headerSize {
		n := binary.BigEndian.Uint32(stream[1:])
		if n < 4 || uint64(n) > uint64(len(stream)-1) {
			return all, false
		}
		all = append(all, Message{Raw: stream[:1+n]})
		stream = stream[1+n:]
	}
	return all, len(stream) == 0
}

// cleanByModel is what [Clean] should say at most: the client's stream ends with its only
// Terminate, everything before is complete messages that clients send, each group of the extended protocol
// has its Sync, and the server has said as many ReadyForQuery as were asked for, the last one
// idle, in complete messages.
func cleanByModel(client, server []byte) bool {
	asked, ok := messages(client)
	if !ok || len(asked) == 0 {
		return false
	}
	for i, m := range asked {
		if (m.Kind() == 'X') != (i == len(asked)-1) {
			return false
		}
	}
	if len(asked[len(asked)-1].Body()) > 0 {
		return false
	}
	expected, open := 0, false
	for _, m := range asked[:len(asked)-1] {
		switch {
		case bytes.IndexByte([]byte("QF"), m.Kind()) >= 0:
			expected++
		case m.Kind() == 'S':
			expected, open = expected+1, false
		case bytes.IndexByte([]byte("PBDECH"), m.Kind()) >= 0:
			open = true
		case bytes.IndexByte([]byte("dcf"), m.Kind()) < 0:
			return false
		}
	}
	said, ok := messages(server)
	if !ok || open {
		return false
	}
	var states []byte
	for _, m := range said {
		switch m.Kind() {
		case 'Z':
			if len(m.Body()) != 1 {
				return false
			}
			states = append(states, m.Body()[0])
		case 'W':
			return false
		case 'S':
			if bytes.Count(m.Body(), []byte{0}) != 2 || m.Body()[len(m.Body())-1] != 0 || len(m.Body()) > maxStatus {
				return false
			}
		}
	}
	return len(states) == expected && (expected == 0 || states[expected-1] == 'I')
}

// cutsOf makes places to cut a stream at of some bytes.
func cutsOf(b []byte, size int) (cuts []int) {
	for at := 0; len(b) > 0; b = b[1:] {
		if at += int(b[0]); at > size {
			break
		}
		cuts = append(cuts, at)
	}
	return cuts
}

// FuzzFrames shows what clients and servers say in pieces, and then tells whether another
// client may go on: only if the model says so too, and wherever the pieces end.
func FuzzFrames(f *testing.F) {
	const query, terminate, ready = "Q\x00\x00\x00\x06;\x00", "X\x00\x00\x00\x04", "Z\x00\x00\x00\x05I"
	const sync, parse, status = "S\x00\x00\x00\x04", "P\x00\x00\x00\x08\x00\x00\x00\x00", "S\x00\x00\x00\x08a\x00b\x00"
	for _, s := range [][2]string{
		{terminate, ""}, {query + terminate, ready}, {query + query + terminate, status + ready + "I\x00\x00\x00\x04" + ready},
		{parse + sync + terminate, "1\x00\x00\x00\x04" + ready}, {parse + terminate, ""}, {sync + parse + terminate, ready},
		{query + terminate, "Z\x00\x00\x00\x05T"}, {query + terminate, ready + ready}, {query + terminate + terminate, ready}, {query + terminate[:3], ready},
		{query[:3], ready}, {query + "X\x00\x00\x00\x05X", ready}, {"\x00\x00\x00\x00\x04" + terminate, ""}, {"Q\xff\xff\xff\xff" + terminate, ready}, {"Q\x00\x00\x00\x00" + terminate, ready},
		{query + terminate, "S\x00\x01\x00\x06a\x00" + ready}, {query + terminate, "S\x00\x00\x00\x04" + ready}, {query + terminate, "Z\x00\x00\x00\x06II"}, {query + terminate, "W\x00\x00\x00\x04" + ready},
		{"d\x00\x00\x00\x05X" + query + "c\x00\x00\x00\x04" + terminate, "G\x00\x00\x00\x04" + ready}, {"p\x00\x00\x00\x05\x00" + terminate, ""},
	} {
		f.Add([]byte(s[0]), []byte(s[1]), []byte{1, 1, 5, 1})
	}
	f.Fuzz(func(t *testing.T, client, server, cuts []byte) {
		if len(client)+len(server) > 1<<12 {
			return
		}
		judge := func(cutsC, cutsS []int) (clean bool, passed []byte, statuses []Param) {
			var c ClientFrames
			var s ServerFrames
			passed, withheld := scanAll(t, c.Scan, client, cutsC)
			if got := append(bytes.Clone(passed), withheld...); !bytes.Equal(got, client) {
				t.Fatalf("%q was made %q", client, got)
			}
			if _, rest := scanAll(t, s.Scan, server, cutsS); len(rest) > 0 {
				t.Fatalf("%q of the server was held back", rest)
			}
			if n := cap(s.body); n > 2*maxStatus {
				t.Fatalf("%d bytes are held", n)
			}
			return Clean(&c, &s, withheld), passed, s.Statuses
		}
		clean, passed, statuses := judge(nil, nil)
		if clean && !cleanByModel(client, server) {
			t.Fatalf("clean: client %q, server %q", client, server)
		}
		if !clean && cleanByModel(client, server) && len(statuses) < maxStatuses {
			t.Fatalf("not clean: client %q, server %q", client, server)
		}
		same := func(cutsC, cutsS []int) {
			again, passedAgain, statusesAgain := judge(cutsC, cutsS)
			if again != clean || !bytes.Equal(passed, passedAgain) || !slices.Equal(statuses, statusesAgain) {
				t.Fatalf("cut at %v and %v: clean %v, passed %q, %q; else %v, %q, %q", cutsC, cutsS, again, passedAgain, statusesAgain, clean, passed, statuses)
			}
		}
		same(cutsOf(cuts, len(client)), cutsOf(cuts, len(server)))
		if len(client)+len(server) < 100 {
			for i := range len(client) {
				same([]int{i}, nil)
			}
			for i := range len(server) {
				same(nil, []int{i})
			}
		}
		every := func(n int) (cuts []int) {
			for i := range n {
				cuts = append(cuts, i)
			}
			return cuts
		}
		same(every(len(client)), every(len(server)))
	})
}

// TestFramesHoldLittle has a server report more, and more at once, than any does.
func TestFramesHoldLittle(t *testing.T) {
	status := func(name string, size int) []byte {
		body := append([]byte(name), 0)
		body = append(append(body, bytes.Repeat([]byte{'v'}, size-len(body)-1)...), 0)
		return append(binary.BigEndian.AppendUint32([]byte{'S'}, uint32(4+len(body))), body...)
	}
	leave := []byte("X\x00\x00\x00\x04")
	judge := func(said ...[]byte) (clean bool, s ServerFrames) {
		for _, b := range said {
			for ; len(b) > 0; b = b[min(len(b), 1000):] {
				s.Scan(b[:min(len(b), 1000)])
			}
		}
		return Clean(new(ClientFrames), &s, leave), s
	}
	if clean, s := judge(status("a", maxStatus)); !clean || len(s.Statuses) != 1 {
		t.Errorf("the largest report: clean %v, %d", clean, len(s.Statuses))
	}
	if clean, s := judge(status("a", maxStatus+1)); clean || len(s.Statuses) != 0 || cap(s.body) > 0 {
		t.Errorf("one that is too large: clean %v, %d, %d bytes", clean, len(s.Statuses), cap(s.body))
	}
	var many [][]byte
	for i := range maxStatuses {
		many = append(many, status(string(rune('a'+i)), 10))
	}
	if clean, s := judge(append(many, many...)...); !clean || len(s.Statuses) != maxStatuses {
		t.Errorf("%d reports: clean %v, %d", maxStatuses, clean, len(s.Statuses))
	}
	if clean, s := judge(append(many, status("more", 10))...); clean || len(s.Statuses) != maxStatuses {
		t.Errorf("one more: clean %v, %d", clean, len(s.Statuses))
	}
	huge := []byte{'D', 0x40, 0, 0, 0, 1, 2, 3}
	if clean, s := judge(huge); clean || cap(s.body) > 0 {
		t.Errorf("a row of 1 GiB: clean %v, %d bytes", clean, cap(s.body))
	}
}
