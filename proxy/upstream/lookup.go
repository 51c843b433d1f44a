package upstream

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/tracing"
)

// maxHosts is of how many hosts the last addresses are kept: of the servers of one database.
const maxHosts = 64

// lookups are what the name servers said last of each host.
type lookups struct {
	mu sync.Mutex
	of map[string]*lastLookup
}

// last returns what was said of host.
func (l *lookups) last(host string) *lastLookup {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.of[host]; k != nil {
		return k
	}
	if l.of == nil || len(l.of) >= maxHosts {
		l.of = map[string]*lastLookup{}
	}
	k := &lastLookup{}
	l.of[host] = k
	return k
}

// all returns the addresses that are known, by host.
func (l *lookups) all() map[string][]net.IPAddr {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string][]net.IPAddr{}
	for host, k := range l.of {
		k.mu.Lock()
		all[host] = k.addrs // read-only, as everybody's
		k.mu.Unlock()
	}
	return all
}

// lastLookup is what the name servers said last of one host, and whether they still answer.
type lastLookup struct {
	mu     sync.Mutex
	addrs  []net.IPAddr // nil: none were found yet
	silent bool         // they have not answered since
	asking bool         // one login waits for them although they are silent
}

// lookup returns the addresses of host, at most maxAddresses. While the name servers do not
// answer, or only that they failed, these are the last ones known: after a failover that
// may be wrong, which without an answer every address may be. That a name has no address
// is an answer.
//
// It takes LookupTimeout at most, and for a name whose addresses are known half of the
// time that ctx has left, so that the other half is for the dial. While the name servers are
// known to be silent one login at a time waits for them; the others do not.
func (u *Dialer) lookup(ctx context.Context, host string) ([]net.IPAddr, error) {
	timeout, k := u.LookupTimeout, u.first().known.last(host)
	addrs, known := k.begin()
	if addrs != nil {
		return addrs, nil
	}
	if deadline, ok := ctx.Deadline(); ok && known {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, span := tracing.Start(bounded, "lookup")
	addrs, err := cmp.Or(u.resolver, net.DefaultResolver).LookupIPAddr(bounded, host)
	if err != nil {
		span.End(dialError(err, host, 0))
	} else {
		span.End(nil)
	}
	log := cmp.Or(u.Log, zap.NewNop()).With(zap.String("host", host))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asking = false
	if err == nil {
		if k.silent {
			log.Info("the database's host can be looked up again")
		}
		k.addrs, k.silent = addrs[:min(len(addrs), maxAddresses)], false
		return k.addrs, nil
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	if ctx.Err() != nil || !ok || dns.IsNotFound || k.addrs == nil || noDescriptor(err) {
		return nil, err
	}
	if !k.silent {
		log.Warn("the database's host cannot be looked up: its last known addresses are used until it can",
			zap.Int("addresses", len(k.addrs)), zap.Error(err))
		k.silent = true
	}
	return k.addrs, nil
}

// LearnFrom takes over the addresses that old knows: a reload must not forget them while
// the name servers do not answer.
func (u *Dialer) LearnFrom(old *Dialer) {
	for host, addrs := range old.known.all() {
		k := u.known.last(host)
		k.mu.Lock()
		if k.addrs == nil {
			k.addrs = addrs
		}
		k.mu.Unlock()
	}
}

// begin reports whether addresses are known. It returns them if they serve without
// a look-up, because another login waits for the silent name servers; nil tells the caller
// to ask these.
func (k *lastLookup) begin() (addrs []net.IPAddr, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.addrs == nil:
		return nil, false
	case k.silent && k.asking:
		return k.addrs, true
	}
	k.asking = k.silent
	return nil, true
}
