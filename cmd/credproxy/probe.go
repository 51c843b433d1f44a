package main

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/wiring"
)

// What comes of a probe, beside the kinds of package proxy: the label result of
// credproxy_probe_total.
const (
	probeOtherVersion = "other_version" // the database takes a version, but not AWSCURRENT
	probeNotWritable  = "not_writable"  // probe.write_table
)

// How long a probe that failed waits before it is made again, at most. Where the
// database is away logins wait for nobody else to notice that it is back, and most
// else goes by itself too. Where it took the credential clients are served, and what
// else is amiss waits for somebody or for the rotation's end. Somebody has to put
// right what the credential or TLS is refused for; a refusal counts as up to three
// failed logins, so its first wait is long too.
const (
	probeAgainUnreachable  = 5 * time.Second
	probeAgain             = 15 * time.Second
	probeAgainAccepted     = time.Minute
	probeAgainRefused      = 5 * time.Minute
	probeAgainRefusedFirst = 2 * time.Minute
)

// probeJitter is the part by which each wait is longer or shorter, at most.
const probeJitter = 0.2

// prober logs in to one database for nobody: at the start, when the secret has a
// new version, every probe.interval, and again after a failure. It goes through
// the cache's login, so that clients who come meanwhile wait for its verdict on a
// new version instead of each making their own.
type prober struct {
	db      *database
	observe func(result string, reached, ok bool)
	engine  chan wiring.Engine // which it is, once that is known; capacity 1
	kicked  chan struct{}      // there is something to prove; capacity 1

	mu       sync.Mutex
	newest   *secrets.Credential // what AWSCURRENT named last
	accepted bool                // the database has taken a credential since the start
	last     *proof              // nil: none yet
	started  time.Time           // the last one, also while it is under way
}

// proof is what came of one probe.
type proof struct {
	at   time.Time
	took time.Duration
	cred *secrets.Credential // that the database took; nil if none
	kind string
	err  *fault.Error // nil: all is well
}

func newProber(db *database, observe func(result string, reached, ok bool)) *prober {
	return &prober{db: db, observe: observe, engine: make(chan wiring.Engine, 1), kicked: make(chan struct{}, 1)}
}

// event hears of what happens to the credential.
func (p *prober) event(e secrets.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case secrets.Tried:
		p.accepted = p.accepted || e.Err == nil
	case secrets.Fetched, secrets.Checked, secrets.Rotated:
		if e.Stage != secrets.Current || e.Err != nil {
			return
		}
		was := p.newest
		p.newest = e.Credential
		if was == nil || was.VersionID != e.Credential.VersionID && e.Credential.Expires.IsZero() { // tokens are no rotation
			p.kick()
		}
	case secrets.EmergencyEnded:
		p.kick()
	}
}

// learnFrom takes over that the database has taken a credential.
func (p *prober) learnFrom(old *prober) {
	old.mu.Lock()
	accepted := old.accepted
	old.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted = accepted
}

func (p *prober) kick() {
	select {
	case p.kicked <- struct{}{}:
	default: // one is waiting already
	}
}

// run probes until ctx ends.
func (p *prober) run(ctx context.Context) {
	var e wiring.Engine
	select {
	case e = <-p.engine:
	case <-ctx.Done():
		return
	}
	for failures := 0; ; {
		var due <-chan time.Time
		if wait := p.wait(failures); wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-p.kicked:
		case <-due:
		case <-ctx.Done():
			return
		}
		if held := p.db.cache.Status(); held.First == nil || held.Emergency != nil {
			continue // nothing to prove; an event will tell when there is
		}
		p.mu.Lock()
		p.started = time.Now()
		p.mu.Unlock()
		proved := p.probe(ctx, e)
		if ctx.Err() != nil {
			return // it was broken off, and says nothing
		}
		if p.file(proved); proved.err == nil {
			failures = 0
		} else {
			failures++
		}
	}
}

// wait is how long to wait before the next probe, 0 for none: probe.interval, or
// less after failures in a row, but not where the database refuses the credential.
func (p *prober) wait(failures int) time.Duration {
	wait := secrets.Jitter(p.db.cfg.Probe.Interval, probeJitter)
	if failures == 0 {
		return wait
	}
	p.mu.Lock()
	kind := fault.Kind(p.last.kind)
	p.mu.Unlock()
	first, limit := time.Second, probeAgain
	switch kind {
	case fault.Unreachable:
		limit = probeAgainUnreachable
	case probeOtherVersion, probeNotWritable:
		limit = probeAgainAccepted
	case fault.CredentialRejected:
		first, limit = probeAgainRefusedFirst, probeAgainRefused
	case fault.UpstreamAuth, fault.UpstreamTLS:
		limit = probeAgainRefused
	}
	again := secrets.Jitter(min(limit, first<<min(failures-1, 16)), probeJitter)
	if wait == 0 || kind == fault.CredentialRejected {
		return again
	}
	return min(wait, again)
}

// probe logs in as a client would, and asks.
func (p *prober) probe(ctx context.Context, e wiring.Engine) proof {
	start := time.Now()
	var cred *secrets.Credential
	var database string
	ask := func(ctx context.Context, statements ...string) error {
		ctx, cancel := context.WithTimeout(ctx, p.db.cfg.Limits.LoginTimeout)
		defer cancel()
		_, err := e.Query(ctx, cred, database, statements...)
		return err
	}
	kind, failure := string(fault.OK), (*fault.Error)(nil)
	err := p.db.cache.Login(secrets.WithoutGrace(ctx), func(ctx context.Context, offered *secrets.Credential) error {
		cred, database = offered, ownDatabase(p.db.cfg, p.db.cfg.Engine, offered)
		err := ask(ctx, "SELECT 1")
		var took bool
		if failure, took = tookCredential(p.db.cfg, database, err); took {
			return nil
		}
		return err
	})
	switch table := p.db.cfg.Probe.WriteTable; {
	case err != nil:
		return proof{at: start, took: time.Since(start), kind: string(fault.As(err).Kind), err: fault.As(err)}
	case failure != nil:
		kind = string(failure.Kind)
	case table != "":
		// The verdict on the credential is given: nobody waits for this.
		if err := ask(ctx, p.db.writeStatements(table)...); err != nil {
			kind, failure = writeFailure(err, table, cred.Username)
		}
	}
	p.mu.Lock()
	newest := p.newest
	p.mu.Unlock()
	if failure == nil && cred.Expires.IsZero() && newest != nil && cred.VersionID != newest.VersionID {
		kind, failure = probeOtherVersion, &fault.Error{
			Message: "the database takes another version of the credential than the current one",
			Hint:    "A rotation is under way, hangs, or was rolled back. Logins go on with the version that it takes; if it stays so, look into the log of the rotation function.",
		}
	}
	return proof{at: start, took: time.Since(start), cred: cred, kind: kind, err: failure}
}

// file keeps what came of a probe, counts it, and says it if it is news.
func (p *prober) file(now proof) {
	p.mu.Lock()
	was := p.last
	p.last = &now
	p.mu.Unlock()
	fields := []zap.Field{zap.Duration("duration", now.took)}
	if now.cred != nil {
		fields = append(fields, zap.String("version", now.cred.VersionID), zap.String("user", now.cred.Username))
	}
	news := was == nil || was.kind != now.kind || now.cred != nil && was.cred != nil && was.cred.VersionID != now.cred.VersionID
	log := p.db.log.Debug
	switch {
	case now.err != nil:
		if news {
			log = p.db.log.Warn
		}
		log("probe failed", append(fields, zap.String("result", now.kind), zap.Error(now.err), zap.String("hint", now.err.Hint))...)
	default:
		if news && (now.cred.Expires.IsZero() || was == nil || was.err != nil) {
			log = p.db.log.Info
		}
		log("probe succeeded", fields...)
	}
	p.observe(now.kind, now.cred != nil, now.err == nil)
}

// unproven tells why no login has shown yet that the database takes the
// credential, "" if one has. What happens later is no reason: a database that is
// down for a while is down for everybody.
func (p *prober) unproven() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.accepted:
		return ""
	case p.last == nil || p.last.err == nil:
		return "the database has not accepted the credential yet"
	}
	return "the database has not accepted the credential yet: " + p.last.err.Message
}

func (p *prober) status() *admin.Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return nil
	}
	s := &admin.Probe{At: p.last.at.Round(0), OK: p.last.err == nil, Seconds: p.last.took.Seconds()}
	if p.last.cred != nil {
		s.VersionID = p.last.cred.VersionID
	}
	if p.last.err != nil {
		s.Error = p.last.err.Message
		if p.last.err.Hint != "" {
			s.Error += ". " + p.last.err.Hint
		}
	}
	return s
}
