package lambdastub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// maxPayload is Lambda's bound of an answer.
const maxPayload = 6 << 20

// process is a running bootstrap and the runtime API that it alone uses.
type process struct {
	cmd   *exec.Cmd
	api   *http.Server
	queue chan *invocation
	gone  chan struct{} // closed when the process has ended and its API with it

	mu        sync.Mutex
	taken     *invocation // the newest the process has asked for
	initError *Error
	exit      string
}

type invocation struct {
	id       string
	body     []byte
	deadline time.Time
	answer   chan answer // has room for one
}

type answer struct {
	payload []byte
	err     error
}

func newInvocation(body []byte, deadline time.Time) *invocation {
	return &invocation{id: uuid.NewString(), body: body, deadline: deadline, answer: make(chan answer, 1)}
}

// errNotTaken says that the process ended before it asked for the invocation.
var errNotTaken = errors.New("the process ended before it took the invocation")

func startProcess(bootstrap string, env []string, logs *log) (*process, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{queue: make(chan *invocation), gone: make(chan struct{})}
	p.cmd = exec.Command(bootstrap)
	p.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "TZ=:UTC", "LANG=en_US.UTF-8", "_HANDLER=bootstrap", "AWS_LAMBDA_RUNTIME_API=" + ln.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=credproxy-rotation", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023"}, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // an interrupt is not for it
	p.cmd.Stdout, p.cmd.Stderr = logs.file, logs.file                                   // one offset, for they share the open file
	if err := p.cmd.Start(); err != nil {
		_ = ln.Close()
		return nil, err
	}
	p.api = &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.api.Serve(ln) // ends with http.ErrServerClosed
	}()
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait()
		p.mu.Lock()
		p.exit = p.cmd.ProcessState.String()
		p.mu.Unlock()
		_ = p.api.Close()
		<-served
	}()
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *process) kill() {
	if !p.ended() {
		_ = p.cmd.Process.Kill() // it may just have ended
	}
	<-p.gone
}

// invoke hands inv to the process and waits for the answer, or for the process's end.
func (p *process) invoke(ctx context.Context, inv *invocation) ([]byte, error) {
	select {
	case p.queue <- inv:
	case <-p.gone:
		return nil, errNotTaken
	case <-ctx.Done():
		p.kill()
		return nil, p.timedOut(ctx)
	}
	select {
	case a := <-inv.answer:
		return a.payload, a.err
	case <-p.gone:
	case <-ctx.Done():
		p.kill()
		return nil, p.timedOut(ctx)
	}
	select {
	case a := <-inv.answer: // given just before the end
		return a.payload, a.err
	default:
		return nil, p.exitError()
	}
}

func (p *process) timedOut(ctx context.Context) error {
	return fmt.Errorf("%w: %w", &Error{Type: "Sandbox.Timedout", Message: "the function was killed at its deadline"}, ctx.Err())
}

// exitError is why a process that is gone has failed: what it said of its initialization, or how it ended.
func (p *process) exitError() error {
	<-p.gone
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.initError != nil {
		return p.initError
	}
	return &Error{Type: "Runtime.ExitError", Message: "Runtime exited: " + p.exit}
}

func (p *process) handler() http.Handler {
	mux := http.NewServeMux()
	const base = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+base+"invocation/next", p.next)
	mux.HandleFunc("POST "+base+"invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		p.answer(w, r, func(body []byte) answer { return answer{payload: body} })
	})
	mux.HandleFunc("POST "+base+"invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		p.answer(w, r, func(body []byte) answer { return answer{err: reported(r, body)} })
	})
	mux.HandleFunc("POST "+base+"init/error", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
		if err != nil {
			return // the process is gone
		}
		p.mu.Lock()
		p.initError = reported(r, body)
		p.mu.Unlock()
		accept(w)
	})
	return mux
}

// reported is the error that a request tells of.
func reported(r *http.Request, body []byte) *Error {
	e := new(Error)
	if err := json.Unmarshal(body, e); err != nil {
		e.Message = string(body)
	}
	if e.Type == "" {
		e.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	return e
}

// next waits for an invocation.
func (p *process) next(w http.ResponseWriter, r *http.Request) {
	var inv *invocation
	select {
	case inv = <-p.queue:
	case <-r.Context().Done(): // also when the API closes
		return
	}
	p.mu.Lock()
	p.taken = inv
	p.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", FunctionARN)
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+strings.Repeat("0", 8)+"-"+strings.Repeat("0", 24)+";Sampled=0")
	_, _ = w.Write(inv.body) // should it fail, the process is gone
}

// answer takes the answer of the invocation under way, once.
func (p *process) answer(w http.ResponseWriter, r *http.Request, read func([]byte) answer) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, `{"errorType":"RequestEntityTooLarge"}`, http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		return // the process is gone
	}
	p.mu.Lock()
	inv := p.taken
	known := inv != nil && inv.id == r.PathValue("id")
	if known {
		p.taken = nil
	}
	p.mu.Unlock()
	if !known {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	inv.answer <- read(body)
	accept(w)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`) // the process may be gone
}
