package awscfg

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// closing is a body as the SDK's: it says when it is closed, and offers io.WriterTo.
type closing struct {
	*bytes.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// client hands a request to a function in place of a server.
type client func(*http.Request)

func (c client) Do(r *http.Request) (*http.Response, error) { c(r); return nil, nil }

// TestPlainBody: package net/http sees no io.WriterTo, and all else as it is.
func TestPlainBody(t *testing.T) {
	body := &closing{Reader: bytes.NewReader([]byte("Action=DescribeDBInstances"))}
	_, _ = plainBody{client(func(r *http.Request) {
		if _, is := r.Body.(io.WriterTo); is {
			t.Error("the body is an io.WriterTo")
		}
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != "Action=DescribeDBInstances" {
			t.Errorf("%q, %v", got, err)
		}
		_ = r.Body.Close()
	})}.Do(&http.Request{Body: body})
	if !body.closed {
		t.Error("the body was not closed")
	}
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		_, _ = plainBody{client(func(r *http.Request) {
			if r.Body != none {
				t.Errorf("no body became %v", r.Body)
			}
		})}.Do(&http.Request{Body: none})
	}
}
