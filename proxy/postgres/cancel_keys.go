package postgres

import (
	"crypto/rand"
	"crypto/subtle"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/proxy/upstream"
)

// cancelTarget is a session that can be cancelled.
type cancelTarget struct {
	secret []byte           // given to the client; as long as the database's own
	key    wire.CancelKey   // the database's own
	addr   net.Addr         // where the session is: another address may be another server
	host   string           // whose certificate to expect there
	dialer *upstream.Dialer // of the session

	underWay sync.WaitGroup // cancels of the session
	adrift   atomic.Bool    // one was not seen to its end, and may reach the server yet
}

// CancelKeys finds sessions by the key that their client holds. A key lives as long as
// its session, which may be longer than the engine that gave it: all engines of a process
// share one, because a client sends its cancel to a listener, whoever accepts there by
// then. The zero value is ready to use.
type CancelKeys struct {
	mu    sync.Mutex
	byPID map[uint32][]*cancelTarget
}

// add registers the session on up, whose key is theirs, and returns the key for its
// client: the database's process id, so that the client's idea of it is right, and a
// secret of our own. Call remove when the session ends.
func (k *CancelKeys) add(theirs wire.CancelKey, up *backend.Conn, dialer *upstream.Dialer) (key wire.CancelKey, remove func()) {
	key, target := k.register(theirs, up, dialer)
	return key, func() { k.remove(target) }
}

// register is add for who waits, after the removal, for the cancels that are under way.
func (k *CancelKeys) register(theirs wire.CancelKey, up *backend.Conn, dialer *upstream.Dialer) (key wire.CancelKey, target *cancelTarget) {
	target = &cancelTarget{secret: make([]byte, len(theirs.Secret)), key: theirs, addr: up.TCP.RemoteAddr(), host: up.Host, dialer: dialer}
	_, _ = rand.Read(target.secret) // never fails: crypto/rand
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byPID == nil {
		k.byPID = map[uint32][]*cancelTarget{}
	}
	k.byPID[theirs.PID] = append(k.byPID[theirs.PID], target)
	return wire.CancelKey{PID: theirs.PID, Secret: target.secret}, target
}

func (k *CancelKeys) remove(target *cancelTarget) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pid := target.key.PID
	var rest []*cancelTarget
	for _, other := range k.byPID[pid] {
		if other != target {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(k.byPID, pid)
		return
	}
	k.byPID[pid] = rest
}

// settled waits, after the removal, until no cancel is under way. It reports false if one may
// still reach the server.
func (t *cancelTarget) settled() bool {
	t.underWay.Wait()
	return !t.adrift.Load()
}

// find returns the session with key, or nil. Secrets are compared in constant
// time. Until the caller calls its underWay.Done a cancel of it is under way.
func (k *CancelKeys) find(key wire.CancelKey) *cancelTarget {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found *cancelTarget
	for _, target := range k.byPID[key.PID] {
		if subtle.ConstantTimeCompare(target.secret, key.Secret) == 1 {
			found = target
		}
	}
	if found != nil {
		found.underWay.Add(1)
	}
	return found
}

// How many cancel requests with the key of no session are looked up: so many at once, and
// so many a second. A key has 32 random bits in protocol 3.0, and a request shows neither
// a certificate nor a password, so that whoever reaches the port may guess: at this rate
// for 7 years, on average, for one session whose process id is known.
const (
	guessesAtOnce    = 100
	guessesPerSecond = 10
)

// guesses bounds how fast keys are guessed. The zero value is ready to use.
type guesses struct {
	mu   sync.Mutex
	left float64
	at   time.Time
}

// take reports whether a key may be looked up at now. Call giveBack if it was right.
func (g *guesses) take(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left, g.at = min(guessesAtOnce, g.left+now.Sub(g.at).Seconds()*guessesPerSecond), now
	if g.left < 1 {
		return false
	}
	g.left--
	return true
}

func (g *guesses) giveBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left++
}
