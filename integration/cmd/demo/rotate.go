package main

import (
	"context"
	"fmt"
	"time"

	"github.com/credproxy/credproxy/integration/rotator"
)

// window is a rotation between setSecret and finishSecret.
type window struct {
	open   time.Duration
	logins attemptCounts // of credproxy meanwhile
}

// attemptCounts counts credentials that credproxy offered to a database, by what
// the database said and by the staging label under which credproxy found them.
type attemptCounts struct{ current, pending, previous, refused, failed float64 }

func (c attemptCounts) accepted() float64 { return c.current + c.pending + c.previous }

func (c attemptCounts) since(o attemptCounts) attemptCounts {
	return attemptCounts{c.current - o.current, c.pending - o.pending, c.previous - o.previous, c.refused - o.refused, c.failed - o.failed}
}

// attempts reads credproxy's metrics.
func (s *stage) attempts(db *database) (attemptCounts, error) {
	var c attemptCounts
	for label, field := range map[string]*float64{
		`result="accepted",source="secrets_manager",stage="AWSCURRENT"`:  &c.current,
		`result="accepted",source="secrets_manager",stage="AWSPENDING"`:  &c.pending,
		`result="accepted",source="secrets_manager",stage="AWSPREVIOUS"`: &c.previous,
		`result="rejected"`: &c.refused,
		`result="failed"`:   &c.failed,
	} {
		var err error
		if *field, err = s.proxy.Metric("credproxy_login_attempts_total", `database="`+db.name+`"`, label); err != nil {
			return c, err
		}
	}
	return c, nil
}

// rotateUnderLoad runs load and rotations at the same time. The load must outlast
// the rotations: else they would prove nothing.
func (s *stage) rotateUnderLoad(ctx context.Context) error {
	s.out.title("Rotating under load for %s", s.plan.load)
	s.out.line("Load on each database: %d clients that connect anew for each transaction, %d that stay.\n", clientCount, clientCount)
	s.out.startClock()
	return s.each(ctx, func(ctx context.Context, db *database) error {
		loading, loaded := context.WithCancel(ctx)
		rotated := make(chan struct{})
		return together(ctx, func(ctx context.Context) (err error) {
			defer loaded()
			if db.load, err = db.Load(ctx, db.addr, s.plan.load); err != nil {
				return err
			}
			select {
			case <-rotated:
				return nil
			default:
				return fmt.Errorf("the load ended before the rotations did; %d connections and %d transactions failed\n%s",
					db.load.failedConnections, db.load.failedTransactions, db.load.messages)
			}
		}, func(context.Context) error {
			db.keepFirstPassword(loading)
			return nil
		}, func(ctx context.Context) error {
			defer close(rotated)
			return s.rotate(ctx, db)
		})
	})
}

func (s *stage) rotate(ctx context.Context, db *database) error {
	function := rotator.Rotator{
		Secrets: rotator.Client(s.aws), SecretID: db.secret(), Database: db.server, Alternating: db.alternating,
	}
	for n := range s.plan.rotations {
		if err := rotator.Wait(ctx, s.plan.gap); err != nil {
			return err
		}
		o := &onlooker{stage: s, db: db, rotation: n + 1}
		function.After = o.after
		if err := function.Rotate(ctx, s.aws.BeginRotation(db.secret())); err != nil {
			return fmt.Errorf("rotation %d: %w", n+1, err)
		}
	}
	return nil
}

// onlooker tells of one rotation, and holds its window open.
type onlooker struct {
	*stage
	db       *database
	rotation int

	opened time.Time
	before attemptCounts
}

func (o *onlooker) after(ctx context.Context, step rotator.Step) (err error) {
	switch step {
	case rotator.Create:
		o.before, err = o.attempts(o.db)
		return err
	case rotator.Set:
		return o.hold(ctx)
	case rotator.Finish:
		return o.finished()
	}
	return nil
}

// hold looks at the window: the database already wants the new password, while
// AWSCURRENT names the old one.
func (o *onlooker) hold(ctx context.Context) error {
	o.opened = time.Now()
	user, password := o.current(o.db)
	if o.db.alternating {
		o.tell(o.label(rotator.Set), "the other user has a new password; AWSCURRENT, %s, still works", user)
	} else {
		o.tell(o.label(rotator.Set), "%s has the new password; AWSCURRENT still names the old one", user)
	}
	err := o.db.Login(ctx, user, password)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o.db.fresh.add(err)
	if err != nil {
		o.tell("  direct login", "%v", err)
	}
	return rotator.Wait(ctx, o.plan.window)
}

func (o *onlooker) finished() error {
	now, err := o.attempts(o.db)
	if err != nil {
		return err
	}
	w := window{open: time.Since(o.opened), logins: now.since(o.before)}
	o.db.windows = append(o.db.windows, w)
	user, _ := o.current(o.db)
	o.tell(o.label(rotator.Finish), "AWSCURRENT is %s with the new password; the window was open %s", user, seconds(w.open))
	o.tell("", "meanwhile %.0f logins through credproxy; passwords refused on the way: %.0f", w.logins.accepted(), w.logins.refused)
	return nil
}

func (o *onlooker) label(step rotator.Step) string { return fmt.Sprintf("%d %s", o.rotation, step) }

func (o *onlooker) tell(label, format string, args ...any) {
	o.out.event(o.db.name, label, fmt.Sprintf(format, args...))
}
