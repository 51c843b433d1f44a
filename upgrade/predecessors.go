package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
	answers := slices.Collect(p.AskEach(ctx, method, path, body))
	slices.SortFunc(answers, func(a, b Answer) int { return cmp.Compare(b.Number, a.Number) }) // the newest first
	return answers
}

// AskEach is Ask that yields each answer when it comes. Answers that nobody waits for any more are
// given up, and awaited.
func (p *Predecessors) AskEach(ctx context.Context, method, path string, body []byte) iter.Seq[Answer] {
	return func(yield func(Answer) bool) {
		ctx, cancel := context.WithCancel(ctx)
		all := p.present()
		answers := make(chan Answer, len(all))
		var asking sync.WaitGroup
		defer asking.Wait()
		defer cancel()
		for _, older := range all {
			asking.Go(func() {
				a := Answer{Origin: older.Origin}
				a.Body, a.Err = older.ask(ctx, method, path, body)
				answers <- a
			})
		}
		for range all {
			if a := <-answers; !errors.Is(a.Err, errGone) && !yield(a) {
				return
			}
		}
	}
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

// Leave forgets all, of which another process has the lines by now. An older process notices by
// the end of its line that nobody can reach it any more.
func (p *Predecessors) Leave() {
	for _, older := range p.present() {
		p.remove(older)
	}
}

// remove forgets one.
func (p *Predecessors) remove(older *predecessor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = slices.DeleteFunc(p.all, func(o *predecessor) bool { return o == older })
	_ = older.line.Close()
}
