package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/nettest"
	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/proxytest"
	"github.com/credproxy/credproxy/proxy/upstream"
)

func TestCancelKeys(t *testing.T) {
	var keys CancelKeys
	tcp, _ := nettest.Pair(t)
	up, dialer := &backend.Conn{TCP: tcp, Host: "db"}, &upstream.Dialer{}
	for _, size := range []int{4, 32, 256} {
		real := wire.CancelKey{PID: 7, Secret: bytes.Repeat([]byte{1}, size)}
		key, remove := keys.add(real, up, dialer)
		if key.PID != 7 || len(key.Secret) != size || bytes.Equal(key.Secret, real.Secret) {
			t.Errorf("key %+v for a secret of %d bytes", key, size)
		}
		if found := keys.find(key); found == nil || !bytes.Equal(found.key.Secret, real.Secret) {
			t.Errorf("key of %d bytes finds %+v", size, found)
		}
		if keys.find(real) != nil {
			t.Error("the database's own key works at our listener")
		}
		other, removeOther := keys.add(real, up, dialer) // the same process id, on another server
		remove()
		if keys.find(key) != nil || keys.find(other) == nil {
			t.Error("a key outlives its session, or takes another with it")
		}
		removeOther()
	}
	if len(keys.byPID) != 0 {
		t.Errorf("%d entries left", len(keys.byPID))
	}
}

func isCancel(packet []byte) bool { return binary.BigEndian.Uint32(packet) == wire.CodeCancel }

// cancelRequest sends a CancelRequest with key and waits for its end.
func cancelRequest(t *testing.T, r *proxytest.Rig, key wire.CancelKey) {
	t.Helper()
	c := newPeer(t, r.Dial(t))
	c.send(string(key.Request()))
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		t.Errorf("a cancel was answered %q, %v", b, err)
	}
	_ = c.Close()
}

// TestCancelAfterTheEngine has a client cancel at a listener where another engine accepts
// than the one that gave the key, as after a reload, for another database.
func TestCancelAfterTheEngine(t *testing.T) {
	keys, cancels := new(CancelKeys), make(chan []byte, 1)
	before := newRig(t, func(e *Engine) { e.CancelKeys = keys }, func(p *scripted) {
		packet := p.packet()
		if isCancel(packet) {
			cancels <- packet
			return
		}
		p.send(authOK + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
		_, _ = io.Copy(io.Discard, p.r)
	})
	after := newRig(t, func(e *Engine) { e.CancelKeys = keys }, func(p *scripted) { t.Error("the other database was dialled") })
	c := newPeer(t, before.Dial(t))
	c.startup()
	c.message()
	_, body := c.message()
	key, err := wire.ParseKey(body)
	if err != nil {
		t.Fatal(err)
	}
	cancelRequest(t, after, key)
	got, err := wire.ParseCancel(<-cancels)
	if err != nil || got.PID != 7 || string(got.Secret) != "abcd" {
		t.Errorf("the database got %+v, %v", got, err)
	}
	if n := after.Counts.Cancels("forwarded"); n != 1 {
		t.Errorf("%d cancels forwarded", n)
	}
}

// TestCancelOfAnotherProcess has a client cancel in a process that came after the one that gave the
// key: it hands the request on as it is, and counts what becomes of it.
func TestCancelOfAnotherProcess(t *testing.T) {
	before, cancels := new(CancelKeys), make(chan []byte, 1)
	old := newRig(t, func(e *Engine) { e.CancelKeys = before }, func(p *scripted) {
		packet := p.packet()
		if isCancel(packet) {
			cancels <- packet
			return
		}
		p.send(authOK + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
		_, _ = io.Copy(io.Discard, p.r)
	})
	next := newRig(t, func(e *Engine) {
		e.CancelElsewhere = func(ctx context.Context, request []byte) string {
			result, err := before.Forward(ctx, request)
			if err != nil {
				t.Error(err)
			}
			return result
		}
	}, func(p *scripted) { t.Error("the other database was dialled") })
	c := newPeer(t, old.Dial(t))
	c.startup()
	c.message()
	_, body := c.message()
	key, err := wire.ParseKey(body)
	if err != nil {
		t.Fatal(err)
	}
	cancelRequest(t, next, key)
	if got, err := wire.ParseCancel(<-cancels); err != nil || string(got.Secret) != "abcd" {
		t.Errorf("the database got %+v, %v", got, err)
	}
	for next.Counts.Cancels("limited") == 0 { // guesses are no faster by this way
		cancelRequest(t, next, wire.CancelKey{PID: 7, Secret: []byte("wxyz")})
	}
	if known, unknown := next.Counts.Cancels("forwarded"), next.Counts.Cancels("unknown"); known != 1 || unknown < guessesAtOnce-1 || unknown > 2*guessesAtOnce {
		t.Errorf("%d forwarded, %d unknown", known, unknown)
	}
}

func FuzzForward(f *testing.F) {
	f.Add(wire.CancelKey{PID: 7, Secret: []byte("abcd")}.Request())
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2e"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, request []byte) {
		if result, err := new(CancelKeys).Forward(t.Context(), request); result != unknown {
			t.Errorf("%q is %s, %v", request, result, err)
		}
	})
}

// TestGuessedCancelKeys has somebody guess the key of a session, whose client then cannot
// cancel for a moment.
func TestGuessedCancelKeys(t *testing.T) {
	cancels := make(chan bool, 1)
	var engine *Engine
	r := newRig(t, func(e *Engine) { engine = e }, func(p *scripted) {
		if isCancel(p.packet()) {
			cancels <- true
			return
		}
		p.send(authOK + frame('K', "\x00\x00\x00\x07abcd") + readyIdle)
		_, _ = io.Copy(io.Discard, p.r)
	})
	c := newPeer(t, r.Dial(t))
	c.startup()
	c.message()
	_, body := c.message()
	key, err := wire.ParseKey(body)
	if err != nil {
		t.Fatal(err)
	}
	for range guessesAtOnce + 1 { // right ones cost nothing
		cancelRequest(t, r, key)
		<-cancels
	}
	wrong := wire.CancelKey{PID: 7, Secret: []byte("wxyz")}
	for r.Counts.Cancels("limited") == 0 {
		cancelRequest(t, r, wrong)
	}
	if n := r.Counts.Cancels("unknown"); n < guessesAtOnce {
		t.Errorf("%d guesses before the limit", n)
	}
	// As if somebody had gone on: no guess is left, nor is one for the right key.
	engine.guesses.mu.Lock()
	engine.guesses.left = -1000
	engine.guesses.mu.Unlock()
	cancelRequest(t, r, key)
	if n := r.Counts.Cancels("limited"); n < 2 {
		t.Errorf("%d limited", n)
	}
	engine.guesses.mu.Lock()
	engine.guesses.left = 1
	engine.guesses.mu.Unlock()
	cancelRequest(t, r, key)
	<-cancels
}

func TestGuesses(t *testing.T) {
	var g guesses
	now := time.Unix(1, 0)
	taken := func() (n int) {
		for g.take(now) {
			n++
		}
		return n
	}
	if n := taken(); n != guessesAtOnce {
		t.Errorf("%d at once", n)
	}
	now = now.Add(time.Second)
	if n := taken(); n != guessesPerSecond {
		t.Errorf("%d a second later", n)
	}
	g.giveBack()
	if n := taken(); n != 1 {
		t.Errorf("%d after one was given back", n)
	}
	now = now.Add(time.Hour)
	if n := taken(); n != guessesAtOnce {
		t.Errorf("%d after an hour", n)
	}
}
