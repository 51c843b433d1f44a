package discovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

// FirstWait is how long the start waits for the first answers at most.
const FirstWait = 10 * time.Second

// Observer hears what the metrics tell. Role is the ARN of the role that is taken to ask,
// "" if it is credproxy's own; result is ok or a reason of package secrets.
type Observer interface {
	Called(region, role, operation, result string)
	Answered(region, role, result string)
	Found(region, role string, databases int)
	Forget(region, role string) // it is asked no more
}

// Finder asks the accounts that a configuration names.
type Finder struct {
	log      *zap.Logger
	observer Observer
	connect  func(context.Context, inventory.Options) (asker, error)
	changed  chan struct{} // one answer at least has come
	wake     chan struct{} // other accounts are to be asked

	mu       sync.Mutex
	begun    bool // Run has told once
	accounts map[account]*search
	served   map[string]config.Database // in force, by the ID of inventory
	left     map[string]string          // why one is not served, likewise; as the log has it
}

// asker is an inventory.Client.
type asker interface {
	Ask(context.Context) (*inventory.Account, error)
}

// account is whom to ask. How a role is taken is no part of it: that may change while it is the
// same account.
type account struct{ region, roleARN string }

func accountOf(d config.Discover) account { return account{d.Region, d.AssumeRole.RoleARN} }

// id is the account's number, "" if it is that of credproxy's own role.
func (a account) id() string {
	if parts := strings.Split(a.roleARN, ":"); len(parts) > 4 { // arn:aws:iam::ACCOUNT:role/NAME
		return parts[4]
	}
	return ""
}

// couldBe reports whether two may be one account and region, addressed in two ways.
func (a account) couldBe(b account) bool {
	same := func(x, y string) bool { return x == y || x == "" || y == "" }
	return same(a.region, b.region) && same(a.id(), b.id())
}

func (a account) String() string {
	region := a.region
	if region == "" {
		region = "the region of the environment"
	}
	if a.roleARN != "" {
		return fmt.Sprintf("%s as %s", region, a.roleARN)
	}
	return region
}

// New returns a Finder that asks nobody yet.
func New(log *zap.Logger, observer Observer) *Finder {
	return &Finder{
		log: log, observer: observer, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		accounts: map[account]*search{}, served: map[string]config.Database{}, left: map[string]string{},
		connect: func(ctx context.Context, o inventory.Options) (asker, error) { return inventory.NewClient(ctx, o) },
	}
}

// Changed tells when [Finder.Complete] may have something new to say.
func (f *Finder) Changed() <-chan struct{} { return f.changed }

// Want has the accounts that configurations name be asked, and no others. What is known of
// those that were asked before stays known; those that are to be asked in another way, or more
// often, are asked at once.
func (f *Finder) Want(all ...*config.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted, before := map[account]*search{}, map[account]terms{}
	var entries []config.Discover
	for _, cfg := range all {
		entries = append(entries, cfg.Discover...)
	}
	for _, d := range entries {
		a := accountOf(d)
		s := wanted[a]
		if s == nil {
			if s = f.accounts[a]; s == nil {
				s = &search{account: a, asked: make(chan struct{}), now: make(chan struct{}, 1), memory: new(inventory.Memory)}
			}
			s.known = f.known(a, entries)
			wanted[a], before[a] = s, s.terms
			s.terms = terms{d.Interval, d.ReadSecrets, d.AssumeRole}
		}
		s.interval, s.readSecrets = min(s.interval, d.Interval), s.readSecrets || d.ReadSecrets
	}
	for a, s := range wanted {
		was := before[a]
		if s.stop != nil && (s.interval < was.interval || s.readSecrets != was.readSecrets || s.role != was.role) {
			signal(s.now)
		}
	}
	for a, s := range f.accounts {
		if wanted[a] != nil {
			continue
		}
		if s.stop != nil {
			s.stop()
		}
		f.observer.Forget(a.region, a.roleARN)
	}
	f.accounts = wanted
	signal(f.wake)
}

// known returns what is known of an account. While that is nothing it is what is known of one that
// entries do not name and that may be the same: what is served is not to go because somebody has
// written the region, or another role.
func (f *Finder) known(a account, entries []config.Discover) (k known) {
	if s := f.accounts[a]; s != nil && s.latest != nil {
		return s.known
	}
	for other, s := range f.accounts {
		named := slices.ContainsFunc(entries, func(d config.Discover) bool { return accountOf(d) == other })
		if s.latest == nil || named || !a.couldBe(account{cmp.Or(other.region, s.latest.Region), other.roleARN}) {
			continue
		}
		if k.latest == nil || s.answered.After(k.answered) {
			k = s.known
			k.borrowed = true
		}
	}
	return k
}

// Run asks, each account in a goroutine of its own, until ctx ends. What changes is told when
// all have been asked once, or FirstWait has passed.
func (f *Finder) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		f.First(ctx)
		if why := f.Unanswered(); why != "" && ctx.Err() == nil {
			f.log.Warn("discovery: the start goes on without an answer of each account", zap.String("because", why))
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.begun = true
		signal(f.changed)
	})
	for {
		f.mu.Lock()
		for _, s := range f.accounts {
			if s.stop == nil {
				var wanted context.Context
				wanted, s.stop = context.WithCancel(ctx)
				asking.Go(func() { f.keepAsking(wanted, s) })
			}
		}
		f.mu.Unlock()
		select {
		case <-f.wake:
		case <-ctx.Done():
			return
		}
	}
}

// First waits until each account has been asked once, or FirstWait has passed, or ctx ends.
func (f *Finder) First(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, FirstWait)
	defer cancel()
	f.mu.Lock()
	var all []*search
	for _, s := range f.accounts {
		all = append(all, s)
	}
	f.mu.Unlock()
	for _, s := range all {
		select {
		case <-s.asked:
		case <-ctx.Done():
			return
		}
	}
}

// AskNow has all accounts be asked without waiting any longer.
func (f *Finder) AskNow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.accounts {
		signal(s.now)
	}
}

// Once asks each account that cfg names once, and returns cfg with what was found.
func Once(ctx context.Context, cfg *config.Config) (*config.Config, []Status) {
	f := New(zap.NewNop(), nobody{})
	f.Want(cfg)
	for _, s := range f.accounts {
		f.note(s, f.ask(ctx, s))
	}
	o := f.Complete(cfg)
	f.Applied(o)
	return o.Config, f.Status()
}

type nobody struct{}

func (nobody) Called(string, string, string, string) {}
func (nobody) Answered(string, string, string)       {}
func (nobody) Found(string, string, int)             {}
func (nobody) Forget(string, string)                 {}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is a signal already that nobody has heard yet
	}
}

func roleOf(r config.AssumeRole) awscfg.Role {
	return awscfg.Role{ARN: r.RoleARN, ExternalID: r.ExternalID, SessionName: r.SessionName}
}
