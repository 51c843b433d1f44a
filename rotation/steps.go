package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// otherUser returns the one of two users whose turn it is after user.
func otherUser(user string) string {
	if name, ok := strings.CutSuffix(user, account.CloneSuffix); ok {
		return name
	}
	return user + account.CloneSuffix
}

// longestNames are the limits of user names: bytes in PostgreSQL, characters elsewhere.
var longestNames = map[string]int{"postgres": 63, "mysql": 32, "mariadb": 80}

// next returns the user that a rotation gives a new password to.
func (t *task) next() (string, error) {
	user := t.current.cred.Username
	if t.strategy == Single {
		return user, nil
	}
	other, engine := otherUser(user), t.current.cred.Endpoint.Engine
	length := len(other)
	if engine != "postgres" {
		length = len([]rune(other))
	}
	if limit := longestNames[engine]; length > limit {
		return "", fmt.Errorf("the other user would be %s, and %s allows names of %d at most; take a shorter name for the first user", other, engine, limit)
	}
	return other, nil
}

// create stores a new password under AWSPENDING, unless an earlier try has.
func (t *task) create(ctx context.Context) error {
	pending, err := t.getIfAny(ctx, secrets.Pending, t.event.Token)
	if err != nil {
		return err
	}
	if pending != nil {
		t.done(t.event, "the version has a password already", zap.String("user", pending.cred.Username))
		return nil
	}
	user, err := t.next()
	if err != nil {
		return err
	}
	d, err := t.newDocument(ctx, user)
	if err != nil {
		return err
	}
	err = t.Store.Put(ctx, t.event.SecretID, t.event.Token, t.event.RotationToken, d)
	if store.Exists(err) { // another try was faster
		if pending, again := t.getIfAny(ctx, secrets.Pending, t.event.Token); again == nil && pending != nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	t.done(t.event, "a new password for "+user+" is AWSPENDING", zap.String("user", user))
	return nil
}

// newDocument returns AWSCURRENT's document for user with a new password.
func (t *task) newDocument(ctx context.Context, user string) (store.Document, error) {
	password, err := t.Password.generate(ctx, t.Store)
	if err != nil {
		return store.Document{}, err
	}
	return t.current.Document.With(user, password)
}

// pending returns the version that the rotation is about, which createSecret made.
func (t *task) pending(ctx context.Context) (*version, error) {
	v, err := t.get(ctx, secrets.Pending, t.event.Token)
	if err != nil {
		return nil, err
	}
	return v, t.checkPending(v)
}

// giveUp is what to do about a rotation that cannot go on.
const giveUp = "credproxy rollback takes AWSPENDING away, after which a new rotation can begin"

// checkPending reports what is wrong with AWSPENDING, before its password goes anywhere.
func (t *task) checkPending(v *version) error {
	want, err := t.next()
	if err != nil {
		return err
	}
	if t.event.Step == Test && v.cred.Username == t.current.cred.Username {
		want = v.cred.Username // Secrets Manager tries a function out on a copy of AWSCURRENT
	}
	switch {
	case !t.samePlace(v):
		return fmt.Errorf("%s is for %s, AWSCURRENT for %s: engine, host and port may not change in a rotation; nothing was sent there. "+giveUp, v, store.Address(v.cred.Endpoint), store.Address(t.current.cred.Endpoint))
	case v.cred.Username != want:
		return fmt.Errorf("%s is for another user than the strategy %s wants, which is %s. "+giveUp, v, t.strategy, want)
	}
	if !v.Document.SameRest(t.current.Document) {
		return fmt.Errorf("AWSCURRENT has other keys or values than %s, which was made of what it was before, and would undo that. "+giveUp, v)
	}
	return nil
}

// set gives the database the password of AWSPENDING.
func (t *task) set(ctx context.Context) error {
	pending, err := t.pending(ctx)
	if err != nil {
		return err
	}
	if t.strategy == Alternating {
		return t.setAlternating(ctx, pending)
	}
	return t.setSingle(ctx, pending)
}

// change is what a rotation makes of an account that shall have the login next. with is the
// version that the database takes now.
func (t *task) change(next *secrets.Credential, with *version) account.Change {
	c := account.Change{New: next, Owner: t.Owner, AllowMD5: t.AllowMD5}
	if t.strategy == Alternating {
		c.Like = t.current.cred.Username
	} else {
		c.Retain, c.Current = !t.NoRetain, with.cred
	}
	return c
}

func (t *task) setAlternating(ctx context.Context, pending *version) error {
	// Who cannot log in with AWSCURRENT may not have the master make users for it.
	own, err := t.login(ctx, t.current)
	if err != nil {
		return fmt.Errorf("%w; AWSCURRENT must be right before the other user gets its rights (credproxy rollback, if AWSPREVIOUS is)", err)
	}
	_ = own.Close()
	return t.applyAsMaster(ctx, t.change(pending.cred, t.current))
}

// setSingle finds out what the database takes now, and changes that.
func (t *task) setSingle(ctx context.Context, pending *version) error {
	session, with, err := t.whatWorks(ctx, pending)
	switch {
	case err != nil:
		return err
	case with == pending && !t.severalAccounts():
		_ = session.Close()
		t.done(t.event, "the database takes the new password already", zap.String("user", pending.cred.Username))
		return nil
	}
	defer func() { _ = session.Close() }()
	change := t.change(pending.cred, with)
	if t.masterID == "" {
		err := t.apply(ctx, session, change)
		if said, ok := errors.AsType[*fault.SQLError](err); ok && slices.Contains(setAlready, said.Code) && with == t.current {
			return t.setBefore(ctx, pending, err)
		}
		return err
	}
	return t.applyAsMaster(ctx, change)
}

// setAlready are MySQL's words, where it takes two passwords, that the one that a user names
// to change it is not the first (ER_INCORRECT_CURRENT_PASSWORD), and that the new one has been
// the account's (ER_CREDENTIALS_CONTRADICT_TO_HISTORY).
var setAlready = []string{"3891", "3638"}

// setBefore finds out whether that is because an earlier try has set the new one.
func (t *task) setBefore(ctx context.Context, pending *version, why error) error {
	session, err := t.login(ctx, pending)
	if err != nil {
		return why
	}
	t.done(t.event, "the database takes the new password already", zap.String("user", pending.cred.Username))
	return session.Close()
}

// severalAccounts reports whether the user may be several accounts, one a host, of which an
// earlier try may have come to some alone. The plan of a master leaves out what is done.
func (t *task) severalAccounts() bool {
	return t.masterID != "" && t.current.cred.Endpoint.Engine != "postgres"
}

// whatWorks logs in with the version that the database takes: AWSCURRENT, else AWSPENDING,
// else AWSPREVIOUS if it is the same user's. In this order no login fails of a rotation that
// nothing has broken off, which would lock accounts that may fail but once. Where a server
// takes two passwords AWSCURRENT logs in after AWSPENDING was set, too; what sets it once more
// loses neither. pending may be nil.
func (t *task) whatWorks(ctx context.Context, pending *version) (account.Session, *version, error) {
	previous, err := t.getUsable(ctx, secrets.Previous, "")
	if err != nil {
		return nil, nil, err
	}
	candidates := []*version{t.current}
	if pending != nil {
		candidates = append(candidates, pending)
	}
	if previous != nil && t.sameUser(previous) {
		candidates = append(candidates, previous)
	}
	return t.firstThatWorks(ctx, candidates)
}

// firstThatWorks logs in with the first version that the database does not refuse. A
// password that stands in two versions is offered once.
func (t *task) firstThatWorks(ctx context.Context, candidates []*version) (account.Session, *version, error) {
	var refusals []error
	for i, v := range candidates {
		if slices.ContainsFunc(candidates[:i], func(refused *version) bool { return refused.Document.SameLogin(v.Document) }) {
			continue
		}
		session, err := t.login(ctx, v)
		if err == nil {
			return session, v, nil
		}
		if refusals = append(refusals, err); !secrets.IsRejected(err) {
			break
		}
		t.refused(v)
	}
	err := errors.Join(refusals...)
	if len(refusals) > 1 && secrets.IsRejected(refusals[len(refusals)-1]) {
		err = fmt.Errorf("the database takes none of the secret's passwords; set the one of AWSCURRENT in the database by hand, and see that the user may log in and has not expired:\n%w", err)
	}
	return nil, nil, err
}

// refused says that a failed login, of which the database's log tells, was the rotation's.
func (t *task) refused(v *version) {
	t.Log.Info("rotation: the database refused a password", zap.Bool("audit", true), zap.String("step", string(t.event.Step)),
		zap.String("secret", t.event.SecretID), zap.String("version", v.ID), zap.String("stage", string(v.label)), zap.String("user", v.cred.Username))
}

// apply plans a change and makes it.
func (t *task) apply(ctx context.Context, session account.Session, change account.Change) error {
	statements, err := session.Plan(ctx, change)
	if err != nil {
		return err
	}
	if err := Apply(ctx, session, statements); err != nil {
		return err
	}
	t.done(t.event, "the database takes the new password of "+change.New.Username, zap.String("user", change.New.Username), zap.Int("statements", len(statements)))
	return nil
}

// applyAsMaster has the master make a change.
func (t *task) applyAsMaster(ctx context.Context, change account.Change) error {
	master, err := t.master(ctx)
	if err != nil {
		return err
	}
	defer master.Close()
	return t.apply(ctx, master, change)
}

// test logs in with AWSPENDING.
func (t *task) test(ctx context.Context) error {
	pending, err := t.pending(ctx)
	if err != nil {
		return err
	}
	session, err := t.login(ctx, pending)
	if err != nil {
		return err
	}
	defer session.Close()
	if _, err := session.Query(ctx, "SELECT 1"); err != nil {
		return fmt.Errorf("with %s: %w", pending, err)
	}
	t.done(t.event, "a login with the new password works", zap.String("user", pending.cred.Username))
	return nil
}

// finish moves AWSCURRENT.
func (t *task) finish(ctx context.Context) error {
	if err := t.Store.Move(ctx, t.event.SecretID, secrets.Current, t.event.Token, t.secret.Labels[secrets.Current]); err != nil {
		return err
	}
	t.done(t.event, "the version is AWSCURRENT", zap.String("from", t.secret.Labels[secrets.Current]))
	return nil
}
