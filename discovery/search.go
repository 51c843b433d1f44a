package discovery

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

const (
	// askTimeout ends one round of calls.
	askTimeout = 2 * time.Minute
	// attempts is how often one call is made that AWS throttles; the next round is soon enough.
	attempts = 3
	// firstRetry is the pause after a first round that failed; it doubles with each that does.
	firstRetry = 5 * time.Second
	// jitter spreads the rounds of many credproxies that were started together.
	jitter = 0.1
)

// search is what is known of one account. Finder.mu guards what changes, but for client.
type search struct {
	account account
	asked   chan struct{} // closed after the first round
	now     chan struct{} // ask without waiting any longer
	stop    func()        // ends its goroutine; nil: it has none yet
	client  asker         // of its goroutine alone; nil: none, or none of use
	asks    terms         // of client
	memory  *inventory.Memory

	terms
	known
	next      time.Time // when the next round is
	err       error     // of the last round
	call      string    // that failed in it
	failing   string    // what the log last said of it
	failures  int       // rounds in a row
	databases int       // that are served of it
	left      []string  // and are not, with the reason
}

// known is what AWS has told of an account.
type known struct {
	latest, previous *inventory.Account // the last two whole answers; nil: none yet
	answered         time.Time          // when latest came
	borrowed         bool               // they are another search's
}

// terms say how an account is asked: as its entries want it.
type terms struct {
	interval    time.Duration
	readSecrets bool
	role        config.AssumeRole
}

// keepAsking asks one account until ctx ends.
func (f *Finder) keepAsking(ctx context.Context, s *search) {
	for {
		answer := f.ask(ctx, s)
		if ctx.Err() != nil {
			return
		}
		pause := f.note(s, answer)
		select {
		case <-time.After(pause):
		case <-s.now:
		case <-ctx.Done():
			return
		}
	}
}

// answer is what came of one round: a whole answer, or why there is none.
type answer struct {
	account *inventory.Account
	call    string // that failed; "": none, or what comes before all
	err     error
}

// ask makes one round of calls.
func (f *Finder) ask(ctx context.Context, s *search) answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	f.mu.Lock()
	want := s.terms
	f.mu.Unlock()
	if s.client == nil || s.asks.readSecrets != want.readSecrets || s.asks.role != want.role {
		client, err := f.connect(ctx, inventory.Options{
			Region: s.account.region, Role: roleOf(want.role), ReadSecrets: want.readSecrets, Memory: s.memory, Attempts: attempts, AWS: &awscfg.Shared{Log: f.log},
			Called: func(operation string, err error) {
				f.observer.Called(s.account.region, s.account.roleARN, operation, result(err))
			},
		})
		if err != nil {
			return answer{err: err}
		}
		s.client, s.asks = client, want
	}
	a := answer{}
	if a.account, a.err = s.client.Ask(ctx); a.err == nil {
		// Without the values of single secrets it is whole: those that were read before are known.
		i := slices.IndexFunc(a.account.Failures, func(f inventory.Failure) bool { return !f.Single })
		if i >= 0 {
			a.err = a.account.Failures[i]
		}
	}
	if failure, of := errors.AsType[inventory.Failure](a.err); of {
		a.call, a.err = failure.Call, failure.Err
	}
	if a.err != nil {
		s.client = nil // its AWS credentials may be what is wrong
	}
	return a
}

// note keeps an answer, and returns how long to wait before the next round.
func (f *Finder) note(s *search, a answer) (pause time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.accounts[s.account] != s {
		return 0 // it is asked no more, and its metrics are forgotten
	}
	f.observer.Answered(s.account.region, s.account.roleARN, result(a.err))
	now, failing := time.Now(), a.call+" "+result(a.err)
	pause = secrets.Jitter(s.interval, jitter)
	if a.err == nil {
		s.previous, s.latest, s.answered, s.failures = s.latest, a.account, now, 0
		if s.borrowed {
			s.previous, s.borrowed = nil, false
		}
		if s.err != nil {
			f.log.Info("discovery: AWS answers again", zap.Stringer("of", s.account))
		}
	} else {
		if s.latest == nil || s.borrowed { // the sooner there is one the better
			pause = min(pause, secrets.Jitter(firstRetry<<min(s.failures, 12), jitter))
		}
		s.failures++
		if failing != s.failing { // once, until something else is the matter
			f.log.Error("discovery: no whole answer of AWS; nothing changes", zap.Stringer("of", s.account), zap.String("call", a.call), zap.Error(awscfg.Plain(a.err)))
		}
	}
	s.err, s.call, s.failing = a.err, a.call, failing
	s.next = now.Add(pause)
	select {
	case <-s.asked:
	default:
		close(s.asked)
	}
	if f.begun {
		signal(f.changed)
	}
	return pause
}

// result is the label of an outcome in the metrics.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	if reason := secrets.ReasonOf(err); reason != secrets.Unavailable {
		return string(reason)
	}
	return string(awscfg.ReasonOf(err))
}
