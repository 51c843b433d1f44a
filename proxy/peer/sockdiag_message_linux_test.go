package peer

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unhex reads bytes written in groups.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// answer encodes a socket as a little-endian kernel tells of it.
func answer(t testing.TB, family, state, addresses, uid, inode string) []byte {
	return unhex(t, "58000000 1400 0000 07000000 2a000000"+family+state+"0000"+
		addresses+"01000000 1100000000000000 00000000 00000000 00000000"+uid+inode)
}

const (
	v4   = "8d3c 1538 7f000001000000000000000000000000 7f000002000000000000000000000000"
	v6   = "8d3c 1538 00000000000000000000000000000001 00000000000000000000000000000001"
	v4in = "8d3c 1538 00000000000000000000ffff7f000001 00000000000000000000ffff7f000002"
)

func TestParseAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		message []byte
		want    socket
		held    bool
	}{
		"IPv4":     {answer(t, "02", "01", v4, "e8030000", "39300000"), socket{1, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 1000, 12345}, true},
		"IPv6":     {answer(t, "0a", "01", v6, "e8030000", "39300000"), socket{1, ap("[::1]:36156"), ap("[::1]:5432"), 1000, 12345}, true},
		"mapped":   {answer(t, "0a", "08", v4in, "e8030000", "39300000"), socket{8, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 1000, 12345}, true},
		"timewait": {answer(t, "02", "06", v4, "00000000", "00000000"), socket{6, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 0, 0}, false},
		// The second half of FIN_WAIT2 is a TIME_WAIT in all but its name.
		"timewait in disguise": {answer(t, "02", "05", v4, "00000000", "00000000"), socket{5, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 0, 0}, false},
		"closed, sending":      {answer(t, "02", "04", v4, "00000000", "00000000"), socket{4, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 0, 0}, false},
		"listener":             {answer(t, "02", "0a", v4, "00000000", "39300000"), socket{10, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 0, 12345}, false},
		"still connecting":     {answer(t, "02", "02", v4, "e8030000", "39300000"), socket{2, ap("127.0.0.1:36156"), ap("127.0.0.2:5432"), 1000, 12345}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseAnswer(tc.message, 7)
			if err != nil || got != tc.want || got.open() != tc.held {
				t.Errorf("got %+v, held %v, %v", got, got.open(), err)
			}
		})
	}
}

func TestParseAnswerErrors(t *testing.T) {
	good := answer(t, "02", "01", v4, "e8030000", "39300000")
	for name, tc := range map[string]struct {
		message []byte
		want    string
	}{
		"empty":          {nil, "of 0 bytes"},
		"cut":            {good[:40], "of 40 bytes that says 88"},
		"says too short": {slices.Concat([]byte{8, 0, 0, 0}, good[4:]), "that says 8"},
		"half a socket":  {slices.Concat([]byte{60, 0, 0, 0}, good[4:60]), "of type 20 with 44 bytes"},
		"other family":   {answer(t, "01", "01", v4, "e8030000", "39300000"), "address family 1"},
		"no such socket": {unhex(t, "24000000 0200 0000 07000000 2a000000 feffffff 48000000 1400 0100 07000000 2a000000"), unix.ENOENT.Error()},
		"end of a dump":  {unhex(t, "14000000 0300 0200 07000000 2a000000 00000000"), "of type 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parseAnswer(tc.message, 7); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want %s", got, err, tc.want)
			}
		})
	}
	if _, err := parseAnswer(good, 8); err != errOtherAnswer {
		t.Errorf("another question's answer: %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer(f, "02", "01", v4, "e8030000", "39300000"), uint32(7))
	f.Add(answer(f, "0a", "08", v4in, "e8030000", "39300000"), uint32(7))
	f.Add(answer(f, "02", "05", v4, "00000000", "00000000"), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, seq uint32) {
		s, err := parseAnswer(b, seq)
		if err != nil && s != (socket{}) {
			t.Errorf("an error and a socket: %+v, %v", s, err)
		}
		if s.open() && (s.inode == 0 || !s.local.IsValid() || !s.remote.IsValid() || s.local.Addr().Is4In6() || s.remote.Addr().Is4In6()) {
			t.Errorf("held by nobody, or nowhere: %+v", s)
		}
		if errors.Is(err, errOtherAnswer) && len(b) < nlHeader {
			t.Error("no answer is another's")
		}
	})
}
