package tracing

import (
	"context"
	"strings"
	"sync"
	"time"
)

// The caps of one login. One that waits 90 s for a rotation, and tries what it finds, has about 200
// spans.
const (
	maxSpans      = 256
	maxAttributes = 16
	maxText       = 256 // bytes
)

// Record is one span: the login itself, or a step of it.
type Record struct {
	Name       string
	Parent     int // index of the span that it is a part of; of the login itself -1
	Start, End time.Time
	Attributes []Attribute
	Err        error // why the step failed; nil: it did not
}

// Attribute is what a span says of its step. None holds a secret.
type Attribute struct {
	Key   string
	Value any // string, int64 or bool
}

// Trace is a login that has ended. Its first span is the login itself.
type Trace struct {
	Parent  string // traceparent of the client; "": it has sent none
	Spans   []Record
	LeftOut int // spans that there was no room for
}

// Login records one login. It is safe for concurrent use.
type Login struct {
	mu    sync.Mutex
	trace *Trace // nil: it has ended
}

// NewLogin begins a login, at the time given.
func NewLogin(began time.Time) *Login {
	spans := make([]Record, 1, 8)
	spans[0] = Record{Name: "login", Parent: -1, Start: began}
	return &Login{trace: &Trace{Spans: spans}}
}

// Context returns a context whose spans are parts of the login.
func (l *Login) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, spanKey{}, Span{login: l})
}

// SetParent says what traceparent the client has sent.
func (l *Login) SetParent(traceparent string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trace != nil {
		l.trace.Parent = traceparent
	}
}

// End ends the login, which failed with err unless that is nil. Steps that are not over end
// with it, and later ones leave no trace. It returns nil if the login had ended before.
func (l *Login) End(err error) *Trace {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.trace
	l.trace = nil // a session may hold l for days
	if t == nil {
		return nil
	}
	t.Spans[0].Err = err
	for i := range t.Spans {
		if t.Spans[i].End.IsZero() {
			t.Spans[i].End = now
		}
	}
	return t
}

// Span is a step that has begun. The zero value is one that nobody listens to.
type Span struct {
	login *Login
	at    int // its index
}

type spanKey struct{}

// Start begins a step of the login that ctx belongs to, if it belongs to one. Steps that
// begin with the context that it returns are parts of this one.
func Start(ctx context.Context, name string) (context.Context, Span) {
	outer, ok := ctx.Value(spanKey{}).(Span)
	if !ok {
		return ctx, Span{}
	}
	s := outer.login.start(Record{Name: name, Parent: outer.at, Start: time.Now()})
	if s.login == nil {
		return ctx, s
	}
	return context.WithValue(ctx, spanKey{}, s), s
}

// Of returns the login that ctx belongs to, as a span.
func Of(ctx context.Context) Span {
	s, _ := ctx.Value(spanKey{}).(Span)
	s.at = 0
	return s
}

// WithSpanOf returns ctx with the span of outer, so that steps that begin with it are parts of
// that one: for a step whose time is not the client's to end.
func WithSpanOf(ctx, outer context.Context) context.Context {
	if s, ok := outer.Value(spanKey{}).(Span); ok {
		return context.WithValue(ctx, spanKey{}, s)
	}
	return ctx
}

func (l *Login) start(r Record) Span {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trace == nil {
		return Span{}
	}
	if len(l.trace.Spans) >= maxSpans {
		l.trace.LeftOut++
		return Span{}
	}
	l.trace.Spans = append(l.trace.Spans, r)
	return Span{l, len(l.trace.Spans) - 1}
}

// On reports whether anybody listens, for what is not worth finding out otherwise.
func (s Span) On() bool { return s.login != nil }

// Text adds an attribute, clipped; an empty text is none.
func (s Span) Text(key, value string) {
	if s.login != nil && value != "" {
		s.set(key, Clip(value))
	}
}

// Clip cuts a text to 256 bytes, and leaves out what is not UTF-8: receivers refuse a whole
// batch for it.
func Clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxText)], "") }

// Number adds an attribute.
func (s Span) Number(key string, value int64) {
	if s.login != nil {
		s.set(key, value)
	}
}

// Flag adds an attribute that is true.
func (s Span) Flag(key string) {
	if s.login != nil {
		s.set(key, true)
	}
}

// set adds an attribute, in place of one with the same key.
func (s Span) set(key string, value any) {
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	if s.login.trace == nil {
		return
	}
	r := &s.login.trace.Spans[s.at]
	for i := range r.Attributes {
		if r.Attributes[i].Key == key {
			r.Attributes[i].Value = value
			return
		}
	}
	if len(r.Attributes) < maxAttributes {
		r.Attributes = append(r.Attributes, Attribute{key, value})
	}
}

// End ends the step, which failed with err unless that is nil.
func (s Span) End(err error) {
	if s.login == nil {
		return
	}
	now := time.Now()
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	if s.login.trace != nil {
		r := &s.login.trace.Spans[s.at]
		r.End, r.Err = now, err
	}
}
