package main

import (
	"context"
	"fmt"
	"time"
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

// moreLoad is how long the load goes on at a time while a slow machine still rotates.
const moreLoad = 4 * time.Second

// rotateUnderLoad runs load and rotations at the same time. The load outlasts the
// rotations: else they would prove nothing.
func (s *stage) rotateUnderLoad(ctx context.Context) error {
	s.out.title("Rotating under load")
	s.out.line("Load on each database: %d clients that connect anew for each transaction, %d that stay.\n", clientCount, clientCount)
	s.out.startClock()
	return s.each(ctx, func(ctx context.Context, db *database) error {
		loading, loaded := context.WithCancel(ctx)
		rotated := make(chan struct{})
		return together(ctx, func(ctx context.Context) error {
			defer loaded()
			for d := s.plan.load; ; d = moreLoad {
				l, err := db.Load(ctx, db.addr, d)
				if err != nil {
					return err
				}
				db.load.add(l)
				select {
				case <-rotated:
					return nil
				default:
				}
				if n := db.load.failedConnections + db.load.failedTransactions; n > 0 {
					return fmt.Errorf("%d connections and transactions failed:\n%s", n, db.load.messages)
				}
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
	for n := range s.plan.rotations {
		if err := wait(ctx, s.plan.gap); err != nil {
			return err
		}
		o := &onlooker{stage: s, db: db, rotation: n + 1}
		r := s.aws.StartRotation(db.secret())
		for _, step := range r.Steps {
			err := db.function.step(ctx, r.Event(step))
			if err == nil {
				err = o.after(ctx, step)
			}
			if err != nil {
				return fmt.Errorf("rotation %d: %s: %w", n+1, step, err)
			}
		}
	}
	return nil
}

// onlooker tells of one rotation, and holds its window open.
type onlooker struct {
	*stage
	db       *database
	rotation int

	next   string // the user who gets a new password
	isNew  bool   // it is not on the server yet
	opened time.Time
	before attemptCounts
}

// after looks on once a step is done.
func (o *onlooker) after(ctx context.Context, step string) error {
	switch step {
	case "createSecret":
		return o.begin(ctx)
	case "setSecret":
		return o.hold(ctx)
	case "finishSecret":
		return o.finished()
	}
	return nil
}

func (o *onlooker) begin(ctx context.Context) (err error) {
	if o.next, _ = o.current(o.db); o.db.alternating {
		o.next = other(o.next)
	}
	has, err := o.db.HasUser(ctx, o.next)
	if err != nil {
		return err
	}
	o.isNew = !has
	o.before, err = o.attempts(o.db)
	return err
}

// hold looks at the window: the database already takes the new password, while
// AWSCURRENT names the old one.
func (o *onlooker) hold(ctx context.Context) error {
	o.opened = time.Now()
	user, password := o.current(o.db)
	refusal := o.db.Login(ctx, user, password)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o.db.fresh.add(refusal)
	if o.isNew {
		has, err := o.db.HasUser(ctx, o.next)
		if err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("there is no user %s", o.next)
		}
		o.db.made = append(o.db.made, o.next)
	}
	o.tell(o.label("setSecret"), "%s", o.sees(user, refusal == nil))
	if refusal != nil {
		o.tell("  direct login", "%v", refusal)
	}
	return wait(ctx, o.plan.window)
}

// sees is what there is to see in the window: user is AWSCURRENT's, and works says
// whether its password still does.
func (o *onlooker) sees(user string, works bool) string {
	switch {
	case !works:
		return fmt.Sprintf("%s has a new password; AWSCURRENT, %s, does not work until finishSecret", o.next, user)
	case o.isNew:
		return fmt.Sprintf("the function made %s, with the rights of %s; AWSCURRENT, %[2]s, still works", o.next, user)
	case o.db.alternating:
		return fmt.Sprintf("%s has a new password and equal rights; AWSCURRENT, %s, still works", o.next, user)
	}
	return fmt.Sprintf("%s has two passwords: the new one, and AWSCURRENT's, which still works", o.next)
}

func (o *onlooker) finished() error {
	now, err := o.attempts(o.db)
	if err != nil {
		return err
	}
	w := window{open: time.Since(o.opened), logins: now.since(o.before)}
	o.db.windows = append(o.db.windows, w)
	user, _ := o.current(o.db)
	o.tell(o.label("finishSecret"), "AWSCURRENT is %s with the new password, %s after setSecret", user, seconds(w.open))
	o.tell("", "meanwhile %.0f logins through credproxy; passwords refused on the way: %.0f", w.logins.accepted(), w.logins.refused)
	return nil
}

func (o *onlooker) label(step string) string { return fmt.Sprintf("%d %s", o.rotation, step) }

func (o *onlooker) tell(label, format string, args ...any) {
	o.out.event(o.db.name, label, fmt.Sprintf(format, args...))
}
