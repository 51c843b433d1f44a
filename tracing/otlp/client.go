package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// firstPause is how long to wait before a batch is sent again, twice as long after each
	// further failure, with jitter. The SDK's OTEL_BSP_EXPORT_TIMEOUT (30 s) ends it.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// maxAnswer caps what is read of an answer, in bytes.
	maxAnswer = 64 << 10

	contentType = "application/x-protobuf"
)

// client sends batches of spans. It is an otlptrace.Client.
type client struct {
	settings
	http   *http.Client
	closed context.Context // ends when nothing is to be sent any more
}

func newClient(s settings, closed context.Context) *client {
	return &client{s, &http.Client{
		Timeout:       s.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // headers are for the endpoint alone
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: s.timeout, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:   true,
			TLSClientConfig:     s.tls,
			TLSHandshakeTimeout: s.timeout,
			MaxIdleConns:        2,
			IdleConnTimeout:     90 * time.Second,
		},
	}, closed}
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. While the receiver is busy or away it tries again
// until ctx ends.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.closed, func() { cancel(context.Cause(c.closed)) })()
	// An ExportTraceServiceRequest is the same message, in a package that needs gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // a buffer takes all
		_ = w.Close()
		body = b.Bytes()
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		wait, err := c.send(ctx, body)
		if err == nil || wait < 0 {
			return err
		}
		select {
		case <-time.After(max(wait, pause/2+rand.N(pause/2))):
		case <-ctx.Done():
			return err
		}
	}
}

// send sends a batch once. After a failure wait is how long the receiver wants to be left
// alone, or negative if it would not help to send the batch again.
func (c *client) send(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	req.Header = c.headers.Clone()
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "credproxy")
	if c.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if of, ok := errors.AsType[*url.Error](err); ok {
			err = of.Err // the log names the URL
		}
		return 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // also so that the connection can be used again
	if resp.StatusCode/100 == 2 {
		if n := rejected(answer); n > 0 && resp.Header.Get("Content-Type") == contentType {
			return -1, n
		}
		return 0, nil
	}
	err = fmt.Errorf("the receiver answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return time.Duration(max(0, min(seconds, int(maxPause/time.Second)))) * time.Second, err
	}
	return -1, err
}
