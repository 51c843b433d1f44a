package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// goingBack is the label of the version that a rollback leads to, while it is under way: who
// repeats one that was broken off goes on to the same version.
const goingBack secrets.Stage = "CREDPROXY_ROLLBACK"

// Rollback is the way back to an earlier version of a secret.
type Rollback struct {
	t       *task
	target  *version
	pending *version // of a rotation that has not come to its end, if the database may have it; nil: none
	resumed bool
	again   bool // it was done already
}

// PlanRollback returns the way back: to AWSPREVIOUS; or, where a rotation has not come to
// its end, to AWSCURRENT; or to where a rollback that was broken off was going; or to
// AWSCURRENT where AWSPREVIOUS is the newer of the two, which says that a rollback was made
// already. Nothing is changed, and no login made.
func (r *Rotation) PlanRollback(ctx context.Context, secretID string) (*Rollback, error) {
	d, err := r.Store.Describe(ctx, secretID)
	if err != nil {
		return nil, err
	}
	if d.Manager != "" {
		return nil, fmt.Errorf("rollback of secret %s: %s manages it and alone may change it; rotate it once more instead", secretID, d.Manager)
	}
	t, err := r.load(ctx, d, Event{Step: "rollback", SecretID: secretID})
	if err != nil {
		return nil, explained{err}
	}
	b := &Rollback{t: t, target: t.current}
	if id := unfinished(d); id != "" {
		if b.pending, err = t.getUsable(ctx, secrets.Pending, id); err != nil {
			return nil, err
		}
		if b.pending != nil && (!t.samePlace(b.pending) || !t.takesTurns(b.pending)) {
			b.pending = nil
		}
	}
	id, label := d.Labels[goingBack], goingBack
	// One on a version that is neither is of a rollback that was given up since.
	b.resumed = id != "" && (id == t.current.ID || id == d.Labels[secrets.Previous])
	if !b.resumed {
		if id = ""; unfinished(d) == "" {
			if id, label = d.Labels[secrets.Previous], secrets.Previous; id == "" {
				return nil, fmt.Errorf("rollback of secret %s: no version is AWSPREVIOUS, so there is nothing to go back to", secretID)
			}
		}
	}
	if id != "" && id != t.current.ID {
		if b.target, err = t.get(ctx, label, id); err != nil {
			return nil, err
		}
	}
	if b.again = !b.resumed && b.target.Created.After(t.current.Created); b.again {
		b.target = t.current
	}
	if !t.samePlace(b.target) {
		return nil, fmt.Errorf("rollback of secret %s: %s is for %s, AWSCURRENT for %s; a rollback does not move the database", secretID,
			b.target, store.Address(b.target.cred.Endpoint), store.Address(t.current.cred.Endpoint))
	}
	if !t.takesTurns(b.target) {
		return nil, fmt.Errorf("rollback of secret %s: %s is for another user than AWSCURRENT (%s), and not for the one that takes turns with it", secretID, b.target, t.current.cred.Username)
	}
	return b, nil
}

// takesTurns reports whether v is for the user of AWSCURRENT or for the one that takes turns
// with it.
func (t *task) takesTurns(v *version) bool {
	user := t.current.cred.Username
	return v.cred.Username == user || v.cred.Username == otherUser(user)
}

// String says what the rollback will do, in a few lines.
func (b *Rollback) String() string {
	what := fmt.Sprintf("AWSCURRENT goes back to version %s of %s (user %s)", b.target.ID, b.target.Created.Format(time.RFC3339), b.target.cred.Username)
	if b.target == b.t.current {
		what = fmt.Sprintf("AWSCURRENT stays version %s (user %s)", b.target.ID, b.target.cred.Username)
	} else {
		what += fmt.Sprintf(",\nfrom version %s of %s (user %s)", b.t.current.ID, b.t.current.Created.Format(time.RFC3339), b.t.current.cred.Username)
	}
	if id := unfinished(b.t.secret); id != "" {
		what += fmt.Sprintf(".\nVersion %s of a rotation that has not come to its end loses AWSPENDING", id)
	}
	if b.again {
		what = "AWSPREVIOUS is newer than AWSCURRENT: it was gone back already (credproxy rotate leads to a new version). " + what
	}
	if b.resumed {
		what = "Going on with a rollback that was broken off: " + what
	}
	return what + fmt.Sprintf(".\nThe database at %s is to take the password of the former; it is set there if it does not", store.Address(b.target.cred.Endpoint))
}

// Run goes back. The database comes first, so that credproxy, which falls back to the other
// labels, finds a password that works at any time; then the labels.
func (b *Rollback) Run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{b.unmoved, b.mark, b.database, b.labels, b.verify, b.unmark} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("rollback of secret %s: %w", b.t.event.SecretID, explained{err})
		}
	}
	return nil
}

func (b *Rollback) move(ctx context.Context, label secrets.Stage, to, from string) error {
	return b.t.Store.Move(ctx, b.t.event.SecretID, label, to, from)
}

// unmoved holds that the labels are as they were when the rollback was planned, and perhaps
// confirmed.
func (b *Rollback) unmoved(ctx context.Context) error {
	now, err := b.t.Store.Describe(ctx, b.t.event.SecretID)
	if err == nil && !maps.Equal(now.Labels, b.t.secret.Labels) {
		err = errors.New("the secret's labels have moved since the rollback was planned, so nothing was changed; call it again")
	}
	return err
}

func (b *Rollback) mark(ctx context.Context) error {
	if b.resumed {
		return nil
	}
	return b.move(ctx, goingBack, b.target.ID, b.t.secret.Labels[goingBack])
}

// database has the database take the target's password.
func (b *Rollback) database(ctx context.Context) error {
	candidates := []*version{b.target}
	if b.target != b.t.current {
		candidates = append(candidates, b.t.current)
	}
	if b.pending != nil {
		candidates = append(candidates, b.pending)
	}
	session, with, err := b.t.firstThatWorks(ctx, candidates)
	if err != nil {
		return err
	}
	if with == b.target {
		b.t.event.Token = b.target.ID
		b.t.done(b.t.event, "the database takes the password of version "+b.target.cred.ShortVersion())
		return session.Close()
	}
	defer func() { _ = session.Close() }()
	change := account.Change{New: b.target.cred, AllowMD5: b.t.AllowMD5}
	if same := with.cred.Username == b.target.cred.Username; same {
		change.Retain, change.Current = !b.t.NoRetain, with.cred
	} else if b.t.masterID == "" {
		return fmt.Errorf("the database does not take %s, and only a master could set the password of another user than that of %s: name the master's secret with --master", b.target, with)
	}
	if b.t.masterID == "" {
		return b.t.apply(ctx, session, change)
	}
	return b.t.applyAsMaster(ctx, change)
}

// labels moves AWSCURRENT, then takes AWSPENDING from a version that is not current, which
// would keep Secrets Manager from rotating again.
func (b *Rollback) labels(ctx context.Context) error {
	if b.target != b.t.current {
		if err := b.move(ctx, secrets.Current, b.target.ID, b.t.current.ID); err != nil {
			return err
		}
		b.t.say("AWSCURRENT is version %s", b.target.ID)
	}
	if id := b.t.secret.Labels[secrets.Pending]; id != "" && id != b.target.ID {
		if err := b.move(ctx, secrets.Pending, "", id); err != nil {
			return err
		}
		b.t.say("version %s is no longer AWSPENDING", id)
	}
	return nil
}

// verify looks again, where a function may have called setSecret before its version lost
// AWSPENDING.
func (b *Rollback) verify(ctx context.Context) error {
	if unfinished(b.t.secret) == "" {
		return nil
	}
	return b.database(ctx)
}

func (b *Rollback) unmark(ctx context.Context) error {
	return b.move(ctx, goingBack, "", b.target.ID)
}
