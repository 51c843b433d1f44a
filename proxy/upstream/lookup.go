package upstream

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// lastLookup is what the name servers said last, and whether they still answer.
type lastLookup struct {
	mu     sync.Mutex
	host   string
	addrs  []net.IPAddr // of host
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
	timeout, k := u.LookupTimeout, &u.known
	addrs, known := k.begin(host)
	if addrs != nil {
		return addrs, nil
	}
	if deadline, ok := ctx.Deadline(); ok && known {
		timeout = min(timeout, time.Until(deadline)/2)
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := cmp.Or(u.resolver, net.DefaultResolver).LookupIPAddr(bounded, host)
	log := cmp.Or(u.Log, zap.NewNop()).With(zap.String("host", host))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asking = false
	if err == nil {
		if k.silent {
			log.Info("the database's host can be looked up again")
		}
		k.host, k.addrs, k.silent = host, addrs[:min(len(addrs), maxAddresses)], false
		return k.addrs, nil
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	if ctx.Err() != nil || !ok || dns.IsNotFound || k.host != host || noDescriptor(err) {
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
	old.known.mu.Lock()
	host, addrs := old.known.host, old.known.addrs // read-only, as everybody's
	old.known.mu.Unlock()
	u.known.mu.Lock()
	defer u.known.mu.Unlock()
	if u.known.host == "" {
		u.known.host, u.known.addrs = host, addrs
	}
}

// begin reports whether addresses of host are known. It returns them if they serve without
// a look-up, because another login waits for the silent name servers; nil tells the caller
// to ask these.
func (k *lastLookup) begin(host string) (addrs []net.IPAddr, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.host != host:
		return nil, false
	case k.silent && k.asking:
		return k.addrs, true
	}
	k.asking = k.silent
	return nil, true
}
