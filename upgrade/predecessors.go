package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	askTimeout = 8 * time.Second // for one request of one process
	maxAnswer  = 8 << 20         // bytes of its answer
)

// Predecessors are the old processes that may still have sessions. Nil is none, for ever.
type Predecessors struct {
	mu  sync.Mutex
	all []*predecessor // the newest first
}

type predecessor struct {
	Origin
	line line
	http http.Client
}

func newPredecessor(o Origin, l line) *predecessor {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.connect(ctx) }
	return &predecessor{o, l, http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: askTimeout}}
}

// Answer is what one process answers.
type Answer struct {
	Origin
	Body []byte
	Err  error
}

// Present returns those that are there.
func (p *Predecessors) Present() (all []Origin) {
	for _, older := range p.present() {
		all = append(all, older.Origin)
	}
	return all
}

func (p *Predecessors) present() []*predecessor {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// Ask asks all at once, and returns what each answers that is still there.
func (p *Predecessors) Ask(ctx context.Context, method, path string, body []byte) []Answer {
	all := p.present()
	answers := make([]Answer, len(all))
	var asking sync.WaitGroup
	for i, older := range all {
		asking.Go(func() {
			answers[i].Origin = older.Origin
			answers[i].Body, answers[i].Err = older.ask(ctx, method, path, body)
		})
	}
	asking.Wait()
	return slices.DeleteFunc(answers, func(a Answer) bool { return errors.Is(a.Err, errGone) })
}

func (older *predecessor) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://predecessor"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := older.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("process %d answers %s", older.PID, res.Status)
	}
	return answer, err
}

// Watch calls ended with each that ends, until ctx does.
func (p *Predecessors) Watch(ctx context.Context, ended func(Origin)) {
	var watching sync.WaitGroup
	for _, older := range p.present() {
		watching.Go(func() {
			for ctx.Err() == nil {
				if _, err := older.line.hear(ctx); err != nil && ctx.Err() == nil {
					p.remove(older)
					ended(older.Origin)
					return
				}
			}
		})
	}
	watching.Wait()
}

// remove forgets one. Its line stays open for an upgrade that is passing it on just now; its process is
// gone, and so is what the kernel held for it.
func (p *Predecessors) remove(older *predecessor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = slices.DeleteFunc(p.all, func(o *predecessor) bool { return o == older })
	_ = older.line.Close()
}
