package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Process is what is replaced.
type Process interface {
	// Offer returns what a new process gets, which is to be ready within timeout.
	Offer(timeout time.Duration) Offer
	// Handler answers what later processes ask ([Predecessors.Ask]), as soon as the new one accepts.
	Handler() http.Handler
	// StopAccepting leaves the listeners open.
	StopAccepting()
	AcceptAgain()
	// Left is called when the process with that id is the one that serves.
	Left(pid int) Done
}

// Done is what became of an upgrade.
type Done struct {
	PID          int
	SessionsLeft int64 // of the old process
}

// Requests are upgrades that somebody asks for, one at a time. The process does each with
// [Request.Do] in the goroutine that changes whatever an upgrade must find unchanged.
type Requests struct {
	Program Program
	Log     *zap.Logger
	Timeout time.Duration // for a new process to be ready, unless who asks says otherwise
	Next    chan *Request // unbuffered
	// Ended ends when no more are taken.
	Ended context.Context
	// Refusal is why there can be no upgrade just now, nil if there can.
	Refusal func() error

	busy     chan struct{} // holds a token while one is asked for
	replaced atomic.Bool
	ending   sync.WaitGroup // of processes that were refused and have clients
}

// NewRequests returns Requests that are complete but for Refusal.
func NewRequests(ended context.Context, program Program, timeout time.Duration, log *zap.Logger) *Requests {
	return &Requests{Program: program, Log: log, Timeout: timeout, Next: make(chan *Request), Ended: ended, busy: make(chan struct{}, 1)}
}

// Request is answered once.
type Request struct {
	of      *Requests
	ctx     context.Context
	timeout time.Duration
	done    chan result
}

type result struct {
	Done
	err error
}

// Busy reports whether an upgrade is under way.
func (r *Requests) Busy() bool { return len(r.busy) > 0 }

// Ask has a new process take over, and returns when it has. If it has not, all is as it was. A
// timeout of 0 is the usual one.
func (r *Requests) Ask(ctx context.Context, timeout time.Duration) (Done, error) {
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	default:
		return Done{}, errors.New("an upgrade is under way already")
	}
	if err := r.Refusal(); err != nil && r.Ended.Err() == nil {
		return Done{}, err
	}
	req := &Request{r, ctx, cmp.Or(timeout, r.Timeout), make(chan result, 1)}
	select {
	case r.Next <- req:
		got := <-req.done
		return got.Done, got.err
	case <-r.Ended.Done():
		if r.replaced.Load() {
			return Done{}, errors.New("this process has just been replaced; ask again")
		}
		return Done{}, errShuttingDown
	case <-ctx.Done():
		return Done{}, ctx.Err()
	}
}

// Wait returns when each process that was refused has ended.
func (r *Requests) Wait() { r.ending.Wait() }

// Serve asks at each signal until ctx ends. The log has what came of it.
func (r *Requests) Serve(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			if _, err := r.Ask(ctx, 0); err != nil {
				r.Log.Warn("no upgrade at SIGUSR2", zap.Error(err))
			}
		case <-ctx.Done():
			return
		}
	}
}

// Do starts a new process and waits until it serves. It returns nil if that cannot be, with
// which nothing has changed; if it can, p accepts no longer.
func (req *Request) Do(ctx context.Context, p Process) *Successor {
	began, log := time.Now(), req.of.Log
	next, err := Start(req.of.Program, p.Offer(req.timeout))
	if err == nil {
		log.Info("upgrade: a new process starts", zap.String("program", req.of.Program.Path), zap.Int("pid", next.PID))
		if err = req.handOver(ctx, p, next); err != nil {
			next.Refuse(err)
			p.AcceptAgain() // before anybody waits
			if next.answers != nil {
				req.of.ending.Go(next.End)
			} else {
				next.End()
			}
			err = fmt.Errorf("process %d: %w", next.PID, err)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			log.Warn("upgrade given up, since this process is shutting down", zap.Error(err))
		} else {
			log.Error("upgrade failed; this process goes on as before", zap.Error(err))
		}
		req.done <- result{err: fmt.Errorf("not upgraded, and nothing has changed: %w", err)}
		return nil
	}
	req.of.replaced.Store(true)
	done := p.Left(next.PID) // systemd hears it before the new process says anything
	if err := next.Leave(); err != nil {
		log.Error("upgrade: the new process has ended just now", zap.Error(err)) // systemd starts another
	}
	log.Info("upgrade: the new process serves", zap.Int("pid", next.PID), zap.Duration("took", time.Since(began)), zap.Int64("sessions_left", done.SessionsLeft))
	req.done <- result{Done: done}
	return next
}

// handOver returns when next serves, or with why it does not.
func (req *Request) handOver(ctx context.Context, p Process, next *Successor) error {
	// The new process knows what it waits for, and says so at the end of its time.
	waiting, cancel := context.WithTimeoutCause(ctx, req.timeout+lateGrace, fmt.Errorf("it was not ready within %s, and did not say why", req.timeout))
	defer cancel()
	stop := context.AfterFunc(req.ctx, cancel)
	defer stop()
	switch err := next.AwaitReady(waiting); {
	case err == nil:
	case ctx.Err() != nil:
		return errShuttingDown
	case req.ctx.Err() != nil:
		return errors.New("who asked for the upgrade has gone")
	default:
		return err
	}
	if err := next.Accept(p.Handler()); err != nil {
		return err
	}
	p.StopAccepting()
	err := next.AwaitSettled(ctx)
	if err != nil && ctx.Err() != nil {
		return errShuttingDown
	}
	return err
}

var errShuttingDown = errors.New("credproxy is shutting down")

// lateGrace is how long a new process may take to say why it is not ready in time.
const lateGrace = 5 * time.Second
