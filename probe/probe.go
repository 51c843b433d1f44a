package probe

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// What comes of a probe, beside the kinds of package fault: the label result of
// credproxy_probe_total.
const (
	probeOtherVersion = "other_version" // the database takes a version, but not AWSCURRENT
	probeNotWritable  = "not_writable"  // probe.write_table
)

// Results lists what can come of a probe.
func Results() []string {
	results := []string{probeOtherVersion, probeNotWritable}
	for _, kind := range fault.Kinds() {
		results = append(results, string(kind))
	}
	return results
}

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

// Credentials are what logins are made with; [secrets.Cache] has them.
type Credentials interface {
	Login(ctx context.Context, try func(context.Context, *secrets.Credential) error) error
	Status() secrets.Status
}

// Querier logs in to the database and runs statements there; the engines do.
type Querier interface {
	Query(ctx context.Context, cred *secrets.Credential, database string, statements ...string) ([][]string, error)
}

// Prober logs in to one database for nobody: at the start, when the secret has a
// new version, every probe.interval, and again after a failure. It goes through
// the cache's login, so that clients who come meanwhile wait for its verdict on a
// new version instead of each making their own.
type Prober struct {
	cfg     *config.Database
	log     *zap.Logger
	observe func(result string, reached, ok bool)
	engine  chan Querier  // capacity 1
	kicked  chan struct{} // there is something to prove; capacity 1

	mu       sync.Mutex
	newest   *secrets.Credential // what AWSCURRENT named last
	accepted bool                // the database has taken a credential since the start
	last     *Result             // nil: none yet
	started  time.Time           // the last one, also while it is under way
}

// Result is what came of one probe.
type Result struct {
	At         time.Time
	Took       time.Duration
	Credential *secrets.Credential // that the database took; nil if none
	Kind       string              // the label result of credproxy_probe_total
	Err        *fault.Error        // nil: all is well
}

// New returns a Prober that logs to log and tells observe what came of each probe:
// the label, whether the database took a credential, and whether all is well. It reads
// cfg from SetEngine on, by when cfg.Engine must be set.
func New(cfg *config.Database, log *zap.Logger, observe func(result string, reached, ok bool)) *Prober {
	return &Prober{cfg: cfg, log: log, observe: observe, engine: make(chan Querier, 1), kicked: make(chan struct{}, 1)}
}

// SetEngine says how to ask the database. No probe is made before. Call it once.
func (p *Prober) SetEngine(e Querier) { p.engine <- e }

// Event hears of what happens to the credential.
func (p *Prober) Event(e secrets.Event) {
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
			p.Kick()
		}
	case secrets.EmergencyEnded:
		p.Kick()
	}
}

// LearnFrom takes over from old whether the database has taken a credential.
func (p *Prober) LearnFrom(old *Prober) {
	old.mu.Lock()
	accepted := old.accepted
	old.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted = accepted
}

// Kick has a probe made now, or as soon as the one under way has ended.
func (p *Prober) Kick() {
	select {
	case p.kicked <- struct{}{}:
	default: // one is waiting already
	}
}

// Run probes until ctx ends.
func (p *Prober) Run(ctx context.Context, from Credentials) {
	var e Querier
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
		if known := from.Status(); known.Preferred == nil || known.Emergency != nil {
			continue // nothing to prove; an event will tell when there is
		}
		p.mu.Lock()
		p.started = time.Now()
		p.mu.Unlock()
		proved := p.probe(ctx, from, e)
		if ctx.Err() != nil {
			return // it was broken off, and says nothing
		}
		if p.record(proved); proved.Err == nil {
			failures = 0
		} else {
			failures++
		}
	}
}

// wait returns how long to wait before the next probe, 0 for none: probe.interval, or
// less after failures in a row, but not where the database refuses the credential.
func (p *Prober) wait(failures int) time.Duration {
	wait := secrets.Jitter(p.cfg.Probe.Interval, probeJitter)
	if failures == 0 {
		return wait
	}
	p.mu.Lock()
	kind := fault.Kind(p.last.Kind)
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
func (p *Prober) probe(ctx context.Context, from Credentials, e Querier) Result {
	start := time.Now()
	var cred *secrets.Credential
	var database string
	ask := func(ctx context.Context, statements ...string) error {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.Limits.LoginTimeout)
		defer cancel()
		_, err := e.Query(ctx, cred, database, statements...)
		return err
	}
	kind, failure := string(fault.OK), (*fault.Error)(nil)
	err := from.Login(secrets.WithoutGrace(ctx), func(ctx context.Context, offered *secrets.Credential) error {
		cred, database = offered, OwnDatabase(p.cfg, p.cfg.Engine, offered)
		err := ask(ctx, "SELECT 1")
		var outcome Acceptance
		if outcome, failure = AcceptanceOf(p.cfg, database, err); outcome == NotAccepted {
			return err
		}
		return nil
	})
	switch table := p.cfg.Probe.WriteTable; {
	case err != nil:
		return Result{At: start, Took: time.Since(start), Kind: string(fault.As(err).Kind), Err: fault.As(err)}
	case failure != nil:
		kind = string(failure.Kind)
	case table != "":
		// The verdict on the credential is given: nobody waits for this.
		if err := ask(ctx, WriteStatements(p.cfg.Engine, table)...); err != nil {
			kind, failure = writeFailure(err, table, cred.Username)
		}
	}
	p.mu.Lock()
	newest := p.newest
	p.mu.Unlock()
	if failure == nil && cred.Expires.IsZero() && newest != nil && cred.VersionID != newest.VersionID {
		kind, failure = probeOtherVersion, &fault.Error{
			Message: "the database takes another version of the credential than the current one",
			Hint:    "A rotation is under way, hangs, or was rolled back. Logins use the version that the database takes. If it stays so, read the log of the rotation function.",
		}
	}
	return Result{At: start, Took: time.Since(start), Credential: cred, Kind: kind, Err: failure}
}

// record keeps what came of a probe, counts it, and logs it if it is news.
func (p *Prober) record(now Result) {
	p.mu.Lock()
	was := p.last
	p.last = &now
	p.mu.Unlock()
	fields := []zap.Field{zap.Duration("duration", now.Took)}
	if now.Credential != nil {
		fields = append(fields, zap.String("version", now.Credential.VersionID), zap.String("user", now.Credential.Username))
	}
	news := was == nil || was.Kind != now.Kind || now.Credential != nil && was.Credential != nil && was.Credential.VersionID != now.Credential.VersionID
	log := p.log.Debug
	switch {
	case now.Err != nil:
		if news {
			log = p.log.Warn
		}
		log("probe failed", append(fields, zap.String("result", now.Kind), zap.Error(now.Err), zap.String("hint", now.Err.Hint))...)
	default:
		if news && (now.Credential.Expires.IsZero() || was == nil || was.Err != nil) {
			log = p.log.Info
		}
		log("probe succeeded", fields...)
	}
	p.observe(now.Kind, now.Credential != nil, now.Err == nil)
}

// Unproven returns why no login has shown yet that the database takes the
// credential, "" if one has. What happens later is no reason: a database that is
// down for a while is down for everybody.
func (p *Prober) Unproven() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.accepted:
		return ""
	case p.last == nil || p.last.Err == nil:
		return "the database has not accepted the credential yet"
	}
	return "the database has not accepted the credential yet: " + p.last.Err.Message
}

// Last returns what came of the last probe, false if there was none yet.
func (p *Prober) Last() (Result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return Result{}, false
	}
	return *p.last, true
}

// Again probes once more, and reports whether the database has taken a credential. It has not if there
// is no answer before ctx ends.
func (p *Prober) Again(ctx context.Context) bool {
	asked := time.Now()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for p.Kick(); ; {
		if last, ok := p.Last(); ok && !last.At.Before(asked) {
			return last.Credential != nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// doubtful is how long ago the last probe must have begun for clients to raise a doubt:
// they may fail many times a second, and each probe is a login.
const doubtful = time.Second

// SessionEnded hears how a client's session ended. One that could not reach the database
// is a reason to probe: a probe finds out when that is over, also if no client comes
// again. It is none if the last probe failed too, since another is to come in its time,
// or if one began just now.
func (p *Prober) SessionEnded(kind fault.Kind) {
	if !kind.NoReply() {
		return
	}
	p.mu.Lock()
	fine := (p.last == nil || p.last.Err == nil) && time.Since(p.started) >= doubtful
	p.mu.Unlock()
	if fine {
		p.Kick()
	}
}
