package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/credproxy/credproxy/tracing"
)

const (
	// maxTrustedTries caps how often one login goes straight for a credential that
	// others vouch for.
	maxTrustedTries = 8
)

// Login calls try with one credential after another until the database accepts
// one. try returns nil if it did, an error made by [MarkRejected] if the
// database refused the credential itself, and any other error to end the login as it is.
//
// A credential that the database accepted within the last second is offered at
// once. Otherwise one login at a time finds out which version works, in the order
// that the package comment gives, and the others wait for its verdict. A version
// refused lately is not offered again unless something moved. When all are
// refused and a rotation seems to be under way, the login looks again until
// Options.Grace has passed since the trouble began.
//
// Where the database refuses a user for what another might not be refused for (see
// [MarkUserRefused]), the login goes on if AWSCURRENT names another user by now.
//
// If no version is accepted the error is the database's last refusal, perhaps one
// given to an earlier login, or else the source's [Error].
func (c *Cache) Login(ctx context.Context, try func(context.Context, *Credential) error) error {
	l := login{cache: c, try: try, tried: map[string]bool{}}
	for range maxTrustedTries {
		if done, err := l.step(ctx); done && !(IsUserRefused(err) && l.otherUser(ctx)) {
			return err
		}
	}
	return l.failure()
}

// step offers what is trusted, or finds out which version works. done says that the
// login is over, with err as its result; else there is more to offer.
func (l *login) step(ctx context.Context) (done bool, err error) {
	c := l.cache
	l.emergencyStarted = c.emergencyStarted()
	if e := c.inEmergency(); e != nil {
		if done, err := l.offerEmergency(ctx, e); done || err != nil {
			return done, err
		}
	}
	if cred := c.trusted(); cred != nil {
		delete(l.tried, cred.VersionID) // somebody else knows better by now
		if done, err := l.offer(ctx, cred, c.cachedUnder(cred)); done {
			return true, l.retryAtNewEndpoint(ctx, cred, err)
		}
		return false, nil
	}
	if err := l.turn(ctx, c.searchToken); err != nil {
		return !errors.Is(err, errEmergency), err
	}
	defer func() { <-c.searchToken }()
	if c.trusted() != nil { // the verdict came while we waited
		return false, nil
	}
	err = l.search(ctx)
	// After a refusal there may be an emergency, or the database has turned: it took
	// from another login what it refused us.
	return !errors.Is(err, errEmergency) && (!IsRejected(err) || c.trusted() == nil), err
}

// errEmergency ends a wait because an emergency began meanwhile.
var errEmergency = errors.New("an emergency began")

// turn waits until this login holds token, for as long as another may take that
// has begun already: one round, after all that is left of the grace.
func (l *login) turn(ctx context.Context, token chan struct{}) (err error) {
	patience := l.cache.opt.LoginTimeout + l.cache.graceLeft() + trustFor
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case token <- struct{}{}:
		return nil
	default:
	}
	_, span := tracing.Start(ctx, "wait for verdict")
	defer func() { endWait(span, err) }()
	select {
	case token <- struct{}{}:
		return nil
	case <-l.emergencyStarted:
		return errEmergency
	case <-timer.C:
		return fmt.Errorf("waited %v for another login to find out which version of the credential works: %w", patience, context.DeadlineExceeded)
	case <-ctx.Done():
		return l.noTime(context.Cause(ctx))
	}
}

// endWait ends the span of a wait. That an emergency began is no failure.
func endWait(span tracing.Span, err error) {
	if errors.Is(err, errEmergency) {
		err = nil
	}
	span.End(err)
}

func (l *login) grace(ctx context.Context) time.Duration {
	if ctx.Value(impatient{}) != nil {
		return 0
	}
	return l.cache.opt.Grace
}

type impatient struct{}

// WithoutGrace returns a context whose logins do not wait for a rotation to
// finish: what nobody waits for may come again later, at the cost of fewer failed
// logins.
func WithoutGrace(ctx context.Context) context.Context {
	return context.WithValue(ctx, impatient{}, true)
}

// outranked returns why the login failed that ended with err, on cred. What the database
// said of a version, or the source of AWSCURRENT, outranks that another version could not
// be tried.
func (l *login) outranked(cred *Credential, err error) error {
	if IsWrongEndpoint(err) && (l.refusal != nil || l.source != nil && cred.Endpoint.Host == "") {
		return l.failure()
	}
	return err
}

// retryAtNewEndpoint goes on after a login that failed with err because the database is
// not where held says. The secret may name another place by now.
func (l *login) retryAtNewEndpoint(ctx context.Context, offered *Credential, err error) error {
	if !IsWrongEndpoint(err) {
		return err
	}
	found, lookErr := l.cache.look(ctx, Current, time.Time{}, ReasonWrongEndpoint)
	if lookErr != nil || found.err != nil || found.cred.Endpoint == offered.Endpoint {
		return l.outranked(offered, err)
	}
	delete(l.tried, found.cred.VersionID) // a file's version is its login alone
	if done, again := l.offer(ctx, found.cred, Current); done {
		err = again
	}
	return l.outranked(found.cred, err)
}

// login is one run of Cache.Login.
type login struct {
	cache            *Cache
	try              func(context.Context, *Credential) error
	tried            map[string]bool // version ids, in this round, or just before it
	refusedAt        time.Time       // when the latest refusal that we know of was given
	refusal          error           // and what the database said
	source           error           // the first failure of the source that matters
	doubts           int             // refusals of a token that may be good all the same
	userRefused      *Credential     // whose user the database refused
	lookedForUser    bool
	emergencyStarted <-chan struct{} // closed when an emergency begins
}

// offer tries cred unless it was tried or is known to be refused. done says
// that the login is over, with err as its result.
func (l *login) offer(ctx context.Context, cred *Credential, stage Stage) (done bool, err error) {
	if l.tried[cred.VersionID] {
		return false, nil
	}
	if r, ok := l.cache.remembered(cred); ok {
		l.refused(r)
		return false, nil
	}
	l.tried[cred.VersionID] = true
	cred = l.cache.here(cred)
	began := time.Now()
	err = l.try(ctx, cred)
	switch {
	case err == nil || isAccepted(err):
		l.cache.accept(cred, began)
	case errors.Is(err, errRejectedElsewhere):
		r, known := l.cache.remembered(cred)
		if l.tried[cred.VersionID] = known; known { // else something has moved since
			l.refused(r)
		}
		return false, nil
	case IsRejected(err):
		r := l.cache.reject(cred, stage, began, err)
		l.tried[cred.VersionID] = !r.until.IsZero() // else it may be true no more
		if l.refused(r); r.until.IsZero() && cred.Kind() == Token {
			l.doubts++
		}
	case saysSomething(ctx, err):
		l.cache.inconclusive(cred)
	}
	if IsUserRefused(err) {
		l.userRefused = cred
	}
	l.cache.opt.Notify(Event{Kind: Tried, Stage: stage, Credential: cred, Err: verdict(err), Peer: peerOf(ctx), Stale: l.cache.unconfirmed()})
	return !IsRejected(err) || l.doubts > maxDoubts, err
}

// saysSomething reports whether err, from an attempt of ctx that brought no verdict, says
// that there is none to be had: not if the client left, or nothing was offered.
func saysSomething(ctx context.Context, err error) bool {
	return !isNotSent(err) && (ctx.Err() == nil || errors.Is(context.Cause(ctx), context.DeadlineExceeded))
}

// verdict is what err says of the credential: nil if the database took it.
func verdict(err error) error {
	if isAccepted(err) {
		return nil
	}
	return err
}

func (l *login) refused(r refusal) {
	l.refusal = r.err
	if r.at.After(l.refusedAt) {
		l.refusedAt = r.at
	}
}

func (l *login) reason() string {
	if l.refusal != nil {
		return ReasonRejected
	}
	return l.cache.whyFetch()
}

// sourceFailed keeps the failure that explains most: a label that names nothing
// explains nothing.
func (l *login) sourceFailed(err error) {
	if l.source == nil && ReasonOf(err) != NoVersion {
		l.source = err
	}
}

// ofVersion reports whether err may be true of one version of the secret only, so
// that another label is worth a look.
func ofVersion(err error) bool {
	reason := ReasonOf(err)
	return reason == Malformed || reason == NoVersion
}

// noTime is the error of a login that ended while it waited for the source.
func (l *login) noTime(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	l.sourceFailed(Errorf(Unavailable, "the source of the credential did not answer in time: %w", err))
	return l.failure()
}

func (l *login) failure() error {
	switch {
	case l.refusal != nil && l.source != nil:
		return fmt.Errorf("%w (and looking for another version failed: %w)", l.refusal, l.source)
	case l.refusal != nil:
		return l.refusal
	case l.source != nil:
		return l.source
	}
	return Errorf(NoVersion, "the secret has no version with a staging label")
}
