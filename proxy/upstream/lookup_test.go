package upstream

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/credproxy/credproxy/proxy/fault"
)

// The response codes of RFC 1035, 4.1.1.
const (
	serverFailure = 2
	nameError     = 3
)

func failing(query []byte, code byte) []byte {
	b := answerTo(query, nil)
	b[5] |= code
	return b
}

// TestLookup has name servers that answer, fail, deny and say nothing, in this order,
// and looks at what is found, and after how long.
func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mode atomic.Value
		core, logs := observer.New(zap.InfoLevel)
		u := &Dialer{LookupTimeout: 10 * time.Second, Log: zap.New(core), resolver: nameServer(t, func(query []byte) []byte {
			switch mode.Load() {
			case "fails":
				return failing(query, serverFailure)
			case "denies":
				return failing(query, nameError)
			case "silent":
				return nil
			}
			return answerTo(query, []string{mode.Load().(string)})
		})}
		for i, tt := range []struct {
			host, mode string
			login      time.Duration // what the context has left; 0: no end
			found      string        // or what the error says
			within     time.Duration
		}{
			{"db.test.", "silent", 0, "i/o timeout", 10 * time.Second},
			{"db.test.", "silent", 15 * time.Second, "i/o timeout", 10 * time.Second},
			{"db.test.", "10.0.0.1", 0, "10.0.0.1", 0},
			{"db.test.", "silent", 0, "10.0.0.1", 10 * time.Second},
			{"db.test.", "silent", 15 * time.Second, "10.0.0.1", 7500 * time.Millisecond},
			{"db.test.", "fails", 0, "10.0.0.1", 0},
			{"db.test.", "denies", 0, "no such host", 0},
			{"other.test.", "silent", 15 * time.Second, "i/o timeout", 10 * time.Second},
			{"db.test.", "10.0.0.2", 0, "10.0.0.2", 0},
			{"db.test.", "fails", 0, "10.0.0.2", 0},
			{"other.test.", "10.0.0.3", 0, "10.0.0.3", 0},
			{"db.test.", "fails", 0, "10.0.0.2", 0}, // although another was looked up since
			{"third.test.", "fails", 0, "server misbehaving", 0},
			{"other.test.", "fails", 0, "10.0.0.3", 0},
		} {
			mode.Store(tt.mode)
			ctx, cancel := context.WithCancel(t.Context())
			if tt.login > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), tt.login)
			}
			start := time.Now()
			addrs, err := u.lookup(ctx, tt.host)
			cancel()
			got := fmt.Sprint(err)
			if err == nil {
				got = addrs[0].String()
			}
			if took := time.Since(start); !strings.Contains(got, tt.found) || took > tt.within {
				t.Errorf("%d: %s found to be %s after %v, want %s within %v", i, tt.host, got, took, tt.found, tt.within)
			}
		}
		if n := logs.FilterMessageSnippet("last known addresses").Len(); n != 3 {
			t.Errorf("%d lines for three times in which no name server answered", n)
		}
		if n := logs.FilterMessageSnippet("can be looked up again").Len(); n != 1 {
			t.Errorf("%d lines for the end of that", n)
		}
		next := &Dialer{LookupTimeout: time.Second, resolver: u.resolver}
		next.LearnFrom(u)
		if addrs, err := next.lookup(t.Context(), "other.test."); err != nil || addrs[0].String() != "10.0.0.3" {
			t.Errorf("after a reload: %v, %v", addrs, err)
		}
	})
}

// TestSilentNameServersHoldUpOneLogin has many logins at once while name servers are silent.
func TestSilentNameServersHoldUpOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		u := &Dialer{LookupTimeout: 10 * time.Second, resolver: nameServer(t, func(query []byte) []byte {
			if silent.Load() {
				return nil
			}
			return answerTo(query, []string{"10.0.0.1"})
		})}
		lookup := func() time.Duration {
			start := time.Now()
			if addrs, err := u.lookup(t.Context(), "db.test."); err != nil || addrs[0].String() != "10.0.0.1" {
				t.Errorf("%v, %v", addrs, err)
			}
			return time.Since(start)
		}
		lookup()
		silent.Store(true)
		lookup() // from now on that is known
		for range 2 {
			var waited atomic.Int32
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if lookup() > 0 {
						waited.Add(1)
					}
				})
			}
			all.Wait()
			if n := waited.Load(); n != 1 {
				t.Errorf("%d logins waited", n)
			}
		}
		silent.Store(false)
		if took := lookup(); took > 0 || u.known.last("db.test.").silent {
			t.Errorf("when they answer again: %v, silent %v", took, u.known.last("db.test.").silent)
		}
	})
}

// TestASlowNameServerLeavesTimeForTheDial has the first of two name servers say nothing for
// as long as the resolver waits for it, which is as long as a dial may take.
func TestASlowNameServerLeavesTimeForTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		u := &Dialer{LookupTimeout: 10 * time.Second, DialTimeout: 5 * time.Second, resolver: nameServer(t, func(query []byte) []byte {
			if time.Since(begin) < 5*time.Second {
				return nil
			}
			return answerTo(query, []string{"127.0.0.1"})
		})}
		const closed = 1 // tcpmux: nobody listens
		if _, err := u.Dial(t.Context(), "db.test.", closed); !strings.Contains(fault.As(err).Message, "refuses connections") {
			t.Errorf("not dialled: %v", err)
		}
	})
}

func TestSilentNameServersAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &Dialer{LookupTimeout: 10 * time.Second, DialTimeout: 5 * time.Second, resolver: nameServer(t, func([]byte) []byte { return nil })}
		_, err := u.Dial(t.Context(), "db.test.", 5432)
		if e := fault.As(err); !strings.Contains(e.Message, "name servers do not answer") || !strings.Contains(e.Hint, "limits.lookup_timeout") {
			t.Errorf("%+v", e)
		}
	})
}

// TestSilentNameServersForAnotherServer has a server of the database looked up by one dialer, and
// again by the next login's while name servers are silent.
func TestSilentNameServersForAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		u := &Dialer{LookupTimeout: 10 * time.Second, resolver: nameServer(t, func(query []byte) []byte {
			if silent.Load() {
				return nil
			}
			return answerTo(query, []string{"10.0.0.1"})
		})}
		for range 2 {
			at := u.At("reader.test.", 5432, netip.AddrPort{})
			if addrs, err := at.lookup(t.Context(), at.Host); err != nil || addrs[0].String() != "10.0.0.1" {
				t.Errorf("%v, %v; silent %v", addrs, err, silent.Load())
			}
			silent.Store(true)
		}
	})
}

// TestHostsAreForgotten looks up more hosts than are kept.
func TestHostsAreForgotten(t *testing.T) {
	var l lookups
	for i := range 3 * maxHosts {
		l.last(fmt.Sprint(i))
	}
	if n := len(l.of); n > maxHosts {
		t.Errorf("%d hosts are kept", n)
	}
}
