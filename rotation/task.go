package rotation

import (
	"context"
	"errors"
	"fmt"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets"
)

// version is one of a secret, under a label.
type version struct {
	label secrets.Stage
	*store.Version
	cred *secrets.Credential
}

func (v *version) String() string {
	return fmt.Sprintf("%s (user %s, version %s)", v.label, v.cred.Username, v.cred.ShortVersion())
}

// task is one step of one rotation.
type task struct {
	*Rotation
	event    Event
	secret   *store.Secret
	current  *version
	strategy Strategy
	masterID string // the master's secret; empty: none
}

// load reads AWSCURRENT, which every step goes by.
func (r *Rotation) load(ctx context.Context, d *store.Secret, e Event) (*task, error) {
	t := &task{Rotation: r, event: e, secret: d}
	var err error
	if t.current, err = t.get(ctx, secrets.Current, ""); err != nil {
		return nil, err
	}
	at := t.current.cred.Endpoint
	for _, key := range []struct{ name, value string }{{"engine", at.Engine}, {"host", at.Host}} {
		if key.value == "" {
			return nil, fmt.Errorf("%s: the secret has no %s that credproxy knows; add it to the JSON", t.current, key.name)
		}
	}
	t.masterID = t.current.Document.Text("masterarn")
	if t.masterID == "" {
		t.masterID = r.Master
	}
	t.strategy = r.Strategy
	if t.strategy == Auto {
		t.strategy = Single
		if t.masterID != "" {
			t.strategy = Alternating
		}
	}
	if t.strategy == Alternating && t.masterID == "" {
		return nil, errors.New("alternating users need a master's secret, whose user makes the other one: name it under masterarn in the secret, in MASTER_SECRET, or with --master")
	}
	return t, nil
}

// get returns the version under a label, and of that id if one is given.
func (t *task) get(ctx context.Context, label secrets.Stage, id string) (*version, error) {
	v, err := t.Store.Get(ctx, t.event.SecretID, label, id)
	if err != nil {
		return nil, err
	}
	cred, err := v.Document.Credential(v.ID)
	if err != nil {
		return nil, secrets.Errorf(secrets.Malformed, "%s, version %s: %w", label, v.ID, err)
	}
	return &version{label, v, cred}, nil
}

// getIfAny is get, with nil where no version has the label or a value.
func (t *task) getIfAny(ctx context.Context, label secrets.Stage, id string) (*version, error) {
	v, err := t.get(ctx, label, id)
	if err != nil && secrets.ReasonOf(err) == secrets.NoVersion {
		return nil, nil
	}
	return v, err
}

// getUsable is getIfAny for a version that a rotation does without: nil too where the
// document cannot be read.
func (t *task) getUsable(ctx context.Context, label secrets.Stage, id string) (*version, error) {
	v, err := t.getIfAny(ctx, label, id)
	if err != nil && secrets.ReasonOf(err) == secrets.Malformed {
		return nil, nil
	}
	return v, err
}

// sameUser reports whether v is for the same user in the same place as AWSCURRENT.
func (t *task) sameUser(v *version) bool {
	return v.cred.Username == t.current.cred.Username && t.samePlace(v)
}

func (t *task) samePlace(v *version) bool {
	a, b := v.cred.Endpoint, t.current.cred.Endpoint
	return a.Engine == b.Engine && store.SamePlace(a, b, defaultPorts[b.Engine])
}

var defaultPorts = map[string]int{"postgres": 5432, "mysql": 3306, "mariadb": 3306}

// login logs in with a version where AWSCURRENT says that the database is.
func (t *task) login(ctx context.Context, v *version) (account.Session, error) {
	server, err := t.Open(t.current.cred.Endpoint)
	if err != nil {
		return nil, err
	}
	return login(ctx, server, v)
}

func login(ctx context.Context, server account.Server, v *version) (account.Session, error) {
	s, err := server.Login(ctx, v.cred)
	if err != nil {
		return nil, fmt.Errorf("login as %s at %s: %w", v, store.Address(v.cred.Endpoint), err)
	}
	return s, nil
}

// master logs in with the master's secret, at its own endpoint, which must be the database
// that the secret is for or the one that this is a replica of.
func (t *task) master(ctx context.Context) (account.Session, error) {
	fail := func(err error) (account.Session, error) {
		return nil, fmt.Errorf("the master's secret %s: %w", t.masterID, err)
	}
	v, err := t.Store.Get(ctx, t.masterID, secrets.Current, "")
	if err != nil {
		return fail(err)
	}
	m := &version{label: "the master", Version: v}
	if m.cred, err = v.Document.Credential(v.ID); err != nil {
		return fail(err)
	}
	if user := t.current.cred.Username; t.strategy == Alternating && m.cred.Username == otherUser(user) {
		return fail(fmt.Errorf("it is for %s, the user that takes turns with %s, whose rights and password it would get itself; name another master, or rename %s", m.cred.Username, user, user))
	}
	at, ours := &m.cred.Endpoint, t.current.cred.Endpoint
	if at.Host == "" {
		d, err := t.Store.Describe(ctx, t.masterID)
		if err != nil {
			return fail(err)
		}
		managed, err := t.Store.ManagedEndpoint(ctx, d)
		if err != nil {
			return fail(err)
		}
		at.Host, at.Port = managed.Host, managed.Port
		if at.Engine == "" {
			at.Engine = managed.Engine
		}
	}
	if at.Engine == "" {
		at.Engine = ours.Engine
	}
	if at.Engine != ours.Engine {
		return fail(fmt.Errorf("it is for %s, the secret for %s", at.Engine, ours.Engine))
	}
	if !store.SamePlace(*at, ours, defaultPorts[ours.Engine]) {
		replica, err := t.Store.IsReplica(ctx, ours.Host, at.Host)
		if err != nil {
			return fail(fmt.Errorf("it leads to %s, the secret to %s, and whether that is its replica is not known: %w", store.Address(*at), store.Address(ours), err))
		}
		if !replica {
			return fail(fmt.Errorf("it leads to %s, the secret to %s, which is not its replica; nothing was sent there. Name the secret of the master of the same database", store.Address(*at), store.Address(ours)))
		}
	}
	if at.Database == "" {
		at.Database = ours.Database
	}
	server, err := t.Open(*at)
	if err != nil {
		return fail(err)
	}
	s, err := login(ctx, server, m)
	if err != nil {
		return fail(err)
	}
	return s, nil
}
