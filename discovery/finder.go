package discovery

import (
	"context"
	"fmt"
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
	accounts map[account]*search
	names    map[string]string // of the databases that are there, by account and id
	left     map[string]string // why one is not served, likewise; as the log has it
	told     map[string]config.Database
}

// asker is an inventory.Client.
type asker interface {
	Ask(context.Context) (*inventory.Account, error)
}

// account is whom to ask.
type account struct {
	region string
	role   config.AssumeRole
}

func accountOf(d config.Discover) account { return account{d.Region, d.AssumeRole} }

func (a account) String() string {
	region := a.region
	if region == "" {
		region = "the region of the environment"
	}
	if a.role.RoleARN != "" {
		return fmt.Sprintf("%s as %s", region, a.role.RoleARN)
	}
	return region
}

// New returns a Finder that asks nobody yet.
func New(log *zap.Logger, observer Observer) *Finder {
	return &Finder{
		log: log, observer: observer, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		accounts: map[account]*search{}, names: map[string]string{}, left: map[string]string{}, told: map[string]config.Database{},
		connect: func(ctx context.Context, o inventory.Options) (asker, error) { return inventory.NewClient(ctx, o) },
	}
}

// Changed tells when [Finder.Complete] may have something new to say.
func (f *Finder) Changed() <-chan struct{} { return f.changed }

// Want has the accounts that configurations name be asked, and no others. What is known of
// those that were asked before stays known.
func (f *Finder) Want(all ...*config.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[account]*search{}
	var entries []config.Discover
	for _, cfg := range all {
		entries = append(entries, cfg.Discover...)
	}
	for _, d := range entries {
		a := accountOf(d)
		s := wanted[a]
		if s == nil {
			if s = f.accounts[a]; s == nil {
				s = &search{account: a, asked: make(chan struct{}), now: make(chan struct{}, 1)}
			}
			s.interval, s.readSecrets = d.Interval, false
			wanted[a] = s
		}
		s.interval, s.readSecrets = min(s.interval, d.Interval), s.readSecrets || d.ReadSecrets
	}
	for a, s := range f.accounts {
		if wanted[a] != nil {
			continue
		}
		if s.stop != nil {
			s.stop()
		}
		f.observer.Forget(a.region, a.role.RoleARN)
	}
	f.accounts = wanted
	signal(f.wake)
}

// Run asks, each account in a goroutine of its own, until ctx ends.
func (f *Finder) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
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

// First waits until each account has been asked once, or FirstWait has passed, or ctx
// ends.
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
	return f.Complete(cfg), f.Status()
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

func roleOf(a account) awscfg.Role {
	return awscfg.Role{ARN: a.role.RoleARN, ExternalID: a.role.ExternalID, SessionName: a.role.SessionName}
}
