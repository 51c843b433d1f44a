package rotation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// pollInterval is how often [Rotation.Rotate] looks whether a function is done.
const pollInterval = 2 * time.Second

// Rotate rotates a secret from first to last, and returns when AWSCURRENT has moved. Where
// a function is attached to the secret, or a service manages it, that does it; else the steps run here. A rotation
// that was broken off goes on where it was.
func (r *Rotation) Rotate(ctx context.Context, secretID string) error {
	d, err := r.Store.Describe(ctx, secretID)
	if err != nil {
		return err
	}
	if d.RotationEnabled && (d.Function != "" || d.Manager != "") {
		return r.await(ctx, secretID)
	}
	e := Event{SecretID: secretID, Token: unfinished(d)}
	if e.Token == "" {
		e.Token = newVersionID()
	} else {
		r.say("version %s is AWSPENDING: going on with the rotation that made it", e.Token)
	}
	for _, e.Step = range Steps() {
		if _, err := r.step(ctx, d, e); err != nil {
			return fmt.Errorf("%s of secret %s: %w", e.Step, secretID, explained{err})
		}
	}
	return nil
}

// unfinished returns the version of a rotation that has not come to its end, "" if there is
// none.
func unfinished(d *store.Secret) string {
	if pending := d.Labels[secrets.Pending]; pending != d.Labels[secrets.Current] {
		return pending
	}
	return ""
}

// newVersionID returns a version id, which Secrets Manager takes in any form from 32 to 64
// characters.
func newVersionID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

// await has the secret's function rotate it, and waits until it has.
func (r *Rotation) await(ctx context.Context, secretID string) error {
	token, err := r.Store.Rotate(ctx, secretID)
	if err != nil {
		// A rotation that is not complete is tried again; the call fails all the same.
		d, again := r.Store.Describe(ctx, secretID)
		if again != nil || unfinished(d) == "" || secrets.ReasonOf(err) == secrets.Denied {
			return err
		}
		token = unfinished(d)
		r.say("%v", err)
	}
	r.say("waiting for Secrets Manager to rotate to version %s", token)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	created := false
	for {
		d, err := r.Store.Describe(ctx, secretID)
		switch {
		case err != nil && ctx.Err() == nil && secrets.ReasonOf(err) != secrets.Unavailable:
			return err
		case err == nil && d.Has(token, secrets.Current):
			r.say("%s: the version is AWSCURRENT", Finish)
			return nil
		case err == nil && d.Versions[token] == nil:
			return fmt.Errorf("version %s has no label any more: the rotation was cancelled", token)
		case err == nil && !created:
			if _, err := r.Store.Get(ctx, secretID, "", token); err == nil {
				created = true
				r.say("%s: a new password is AWSPENDING", Create)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("version %s is not AWSCURRENT yet; the function's log tells why (a step that fails is called again): %w", token, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (r *Rotation) say(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// Preflight looks whether a rotation of a secret would work, as far as that can be known
// without changing anything, and returns what it would do, a line each.
func (r *Rotation) Preflight(ctx context.Context, secretID string) (lines []string, err error) {
	d, err := r.Store.Describe(ctx, secretID)
	if err != nil {
		return nil, err
	}
	t, err := r.load(ctx, d, Event{Step: "preflight", SecretID: secretID})
	if err != nil {
		return nil, explained{err}
	}
	lines, err = t.preflight(ctx)
	if err != nil {
		return lines, fmt.Errorf("preflight of secret %s: %w", secretID, explained{err})
	}
	return lines, nil
}

func (t *task) preflight(ctx context.Context) (lines []string, err error) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	user, err := t.next()
	if err != nil {
		return nil, err
	}
	say("strategy %s: %s at %s gets a new password", t.strategy, user, store.Address(t.current.cred.Endpoint))
	var pending *version
	if id := unfinished(t.secret); id != "" {
		say("version %s is AWSPENDING: an earlier rotation has not come to its end, and goes on", id)
		if pending, err = t.getIfAny(ctx, secrets.Pending, id); err != nil {
			return lines, err
		}
		if pending != nil {
			if err := t.checkPending(pending); err != nil {
				return lines, err
			}
		}
	}
	d, err := t.newDocument(ctx, user)
	if err != nil {
		return lines, err
	}
	next, err := d.Credential("preflight")
	if err != nil {
		return lines, err
	}
	session, with, err := t.whoLogsIn(ctx, pending)
	if err != nil {
		return lines, err
	}
	own := session
	defer own.Close()
	say("%s logs in", with)
	if with == pending {
		say("the database takes the new password already")
		return lines, nil
	}
	if t.masterID != "" {
		master, err := t.master(ctx)
		if err != nil {
			return lines, err
		}
		defer master.Close()
		session = master
		say("the master's secret %s logs in", t.masterID)
	}
	statements, err := session.Plan(ctx, t.change(next, with))
	if err != nil {
		return lines, err
	}
	for _, s := range statements {
		say("would run: %s", s.Shown())
	}
	return lines, nil
}

// whoLogsIn logs in as setSecret would.
func (t *task) whoLogsIn(ctx context.Context, pending *version) (account.Session, *version, error) {
	if t.strategy == Single {
		return t.whatWorks(ctx, pending)
	}
	session, err := t.login(ctx, t.current)
	return session, t.current, err
}
