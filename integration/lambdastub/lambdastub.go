// Package lambdastub stands in for AWS Lambda with one instance of one function: it runs the function's bootstrap and
// hands it events through the runtime API
// (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html), on localhost.
//
// It holds three things true. There is one invocation at a time. A process that ends with an invocation under way fails
// that invocation, and the next one gets a new process. No answer of one process is taken for another's, because each has
// a runtime API of its own.
//
// It has no extensions, concurrency, memory limit, retries of asynchronous invocations, or freeze between invocations.
package lambdastub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// FunctionARN is what the function is told it is.
const FunctionARN = "arn:aws:lambda:eu-west-1:123456789012:function:credproxy-rotation"

// timeout of an invocation whose context has no deadline: Lambda's longest.
const timeout = 15 * time.Minute

// Function is a function with at most one process. Its methods may be called from any goroutine.
type Function struct {
	bootstrap string
	env       []string
	logs      *log
	busy      chan struct{} // holds a token while an invocation is under way
	closed    chan struct{}
	closing   sync.Once

	mu     sync.Mutex
	now    *process // the newest; it may be gone
	starts int
}

// Error is an invocation's failure: as the function said it, or Lambda's own, with the type Runtime.ExitError, when the
// process ended, or Sandbox.Timedout.
type Error struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

var errClosed = errors.New("the function is closed")

// Start starts the bootstrap with env, to which it adds what Lambda does, and nothing of the test's own environment. The
// caller must Close the function.
func Start(bootstrap string, env []string) (*Function, error) {
	logs, err := newLog()
	if err != nil {
		return nil, fmt.Errorf("log of the function: %w", err)
	}
	f := &Function{bootstrap: bootstrap, env: env, logs: logs, busy: make(chan struct{}, 1), closed: make(chan struct{})}
	if _, err := f.process(); err != nil {
		logs.close()
		return nil, err
	}
	return f, nil
}

// process is the one that runs, or a new one if that is gone.
func (f *Function) process() (*process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.closed:
		return nil, errClosed
	default:
	}
	if f.now != nil && !f.now.ended() {
		return f.now, nil
	}
	p, err := startProcess(f.bootstrap, f.env, f.logs)
	if err != nil {
		return nil, fmt.Errorf("start function: %w", err)
	}
	f.now = p
	f.starts++
	return p, nil
}

// Invoke has the function handle event, which is encoded as JSON, and returns its answer. What the function reports, and
// the end of its process, is an *Error. When ctx ends, the process is killed, as at Lambda's timeout.
func (f *Function) Invoke(ctx context.Context, event any) (payload []byte, err error) {
	body, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(timeout)
	}
	// A process that ended before it took the invocation has not failed it, unless a new one does the same.
	for attempt := 1; ; attempt++ {
		p, err := f.process()
		if err != nil {
			return nil, err
		}
		inv := newInvocation(body, deadline)
		payload, err := p.invoke(ctx, inv)
		if !errors.Is(err, errNotTaken) {
			return payload, err
		}
		if attempt == 2 {
			return nil, p.exitError()
		}
	}
}

// Kill ends the process with SIGKILL and returns when it is gone. The next invocation starts another.
func (f *Function) Kill() {
	f.mu.Lock()
	p := f.now
	f.mu.Unlock()
	p.kill()
}

// Starts is how many processes there were so far.
func (f *Function) Starts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starts
}

// Logs is what all processes wrote to stdout and stderr so far, the newest MiB of it. What the function wrote before it
// answered is in it once Invoke has returned.
func (f *Function) Logs() string { return f.logs.String() }

// Close kills the process. An invocation under way fails; more of them are refused. It may be called twice.
func (f *Function) Close() {
	f.closing.Do(func() {
		f.mu.Lock()
		close(f.closed) // under mu: no process is started any more
		f.mu.Unlock()
	})
	f.Kill()
	f.logs.close()
}
