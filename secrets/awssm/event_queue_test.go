package awssm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const queueURL = "https://sqs.eu-west-1.amazonaws.com/123456789012/rotations"

// fakeSQS is a queue behind the SDK, without a network: it works on virtual time.
type fakeSQS struct {
	mu       sync.Mutex
	messages []string      // bodies
	grown    chan struct{} // capacity 1
	sent     int
	fails    func(operation string) (*http.Response, error) // both nil: does not fail

	calls      map[string]int
	deleted    int
	lastBody   map[string]string // of the request, by operation
	atOnce     atomic.Int64
	mostAtOnce int64
}

func (f *fakeSQS) send(bodies ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, bodies...)
	select {
	case f.grown <- struct{}{}:
	default:
	}
}

func (f *fakeSQS) fail(with func(operation string) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = with
}

func (f *fakeSQS) count(operation string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[operation]
}

func (f *fakeSQS) deletions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deleted
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func (f *fakeSQS) Do(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	if f.calls == nil {
		f.calls, f.lastBody = map[string]int{}, map[string]string{}
	}
	f.calls[operation]++
	f.lastBody[operation] = string(body)
	f.mostAtOnce = max(f.mostAtOnce, f.atOnce.Add(1))
	defer f.atOnce.Add(-1)
	fails := f.fails
	f.mu.Unlock()
	if fails != nil {
		if resp, err := fails(operation); resp != nil || err != nil {
			return resp, err
		}
	}
	if operation == "DeleteMessageBatch" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.deleted += strings.Count(string(body), `"ReceiptHandle"`)
		return answer(200, `{"Successful":[],"Failed":[]}`), nil
	}
	for deadline := time.After(longPoll); ; {
		if got := f.take(); len(got) > 0 {
			text, _ := json.Marshal(map[string]any{"Messages": got})
			return answer(200, string(text)), nil
		}
		select {
		case <-f.grown:
		case <-deadline:
			return answer(200, `{}`), nil
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

func (f *fakeSQS) take() (got []map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.messages) > 0 && len(got) < batch {
		f.sent++
		got = append(got, map[string]string{"MessageId": fmt.Sprint(f.sent), "ReceiptHandle": "r", "Body": f.messages[0]})
		f.messages = f.messages[1:]
	}
	return got
}

// staticKeys has the SDK find fixed AWS credentials and nothing of this machine.
func staticKeys(t *testing.T) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "key-of-the-test", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
}

// rig watches secrets through one queue.
type rig struct {
	sqs    *fakeSQS
	queues *Queues
	log    *observer.ObservedLogs
	calls  observedCalls
	rigged bool

	mu      sync.Mutex
	changes map[string]int // by secret id
}

type observedCalls struct {
	mu  sync.Mutex
	all map[string]int
}

func (o *observedCalls) observe(operation string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]int{}
	}
	o.all[fmt.Sprint(operation, " ", err == nil)]++
}

func (o *observedCalls) count(what string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all[what]
}

func newRig() *rig {
	core, log := observer.New(zap.DebugLevel)
	return &rig{sqs: &fakeSQS{grown: make(chan struct{}, 1)}, queues: &Queues{Log: zap.New(core)}, log: log, changes: map[string]int{}}
}

// watch watches a secret until the returned function is called, which waits.
func (r *rig) watch(t *testing.T, id string) (stop func()) {
	t.Helper()
	w, err := r.queues.Watch(t.Context(), &Source{id: id}, queueURL, r.calls.observe)
	if err != nil {
		t.Fatal(err)
	}
	if !r.rigged {
		r.rigged = true
		w.queue.client = sqs.NewFromConfig(w.queue.config.AWS, func(o *sqs.Options) { o.HTTPClient, o.RetryMaxAttempts = r.sqs, 1 })
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Watch(ctx, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changes[id]++
		})
	}()
	return func() { cancel(); <-done }
}

func (r *rig) changesOf(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes[id]
}

func (r *rig) logged(level string) (messages []string) {
	for _, e := range r.log.All() {
		if e.Level.String() == level {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

const stockARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/stock-GhIjKl"

// TestOneReaderTellsAll watches three secrets through one queue: one reader, and
// each hears of its own events, once for all that come together.
func TestOneReaderTellsAll(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		stopFirst, stopSecond, stopThird := r.watch(t, ordersARN), r.watch(t, "prod/orders"), r.watch(t, stockARN)
		synctest.Wait() // all three watch: what comes before is not for them
		r.sqs.send(labelUpdated("prod/orders", ordersARN), "garbled "+ordersARN, labelUpdated("prod/orders", ordersARN),
			labelUpdated("other", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:other-AbCdEf"))
		time.Sleep(time.Second)
		check := func(orders, ordersByName, stock int) {
			t.Helper()
			if a, b, c := r.changesOf(ordersARN), r.changesOf("prod/orders"), r.changesOf(stockARN); a != orders || b != ordersByName || c != stock {
				t.Errorf("changes %d, %d, %d; want %d, %d, %d", a, b, c, orders, ordersByName, stock)
			}
		}
		check(1, 1, 0)
		r.sqs.send(labelUpdated("prod/stock", stockARN))
		time.Sleep(time.Second)
		check(1, 1, 1)
		if n := r.sqs.deletions(); n != 4 {
			t.Errorf("%d messages deleted, want the 4 that are events", n)
		}
		stopFirst() // whoever reads: another goes on
		stopThird()
		r.sqs.send(labelUpdated("prod/orders", ordersARN))
		time.Sleep(time.Second)
		check(1, 2, 1)
		stopSecond()
		if r.sqs.mostAtOnce != 1 {
			t.Errorf("%d calls at a time, want one", r.sqs.mostAtOnce)
		}
		for _, want := range []string{`"MaxNumberOfMessages":10`, `"WaitTimeSeconds":20`, `"VisibilityTimeout":30`, queueURL} {
			if body := r.sqs.lastBody["ReceiveMessage"]; !strings.Contains(body, want) {
				t.Errorf("request %s lacks %s", body, want)
			}
		}
		if info, warn := r.logged("info"), r.logged("warn"); len(info) != 1 || len(warn) != 1 || !strings.Contains(warn[0], "no events") {
			t.Errorf("log: %q %q", info, warn)
		}
	})
}

// TestIdleQueue shows what an hour without an event costs.
func TestIdleQueue(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		stop := r.watch(t, ordersARN)
		time.Sleep(time.Hour)
		stop()
		if n := r.sqs.count("ReceiveMessage"); n > 180 || n < 175 {
			t.Errorf("%d calls in an idle hour, want 180 or a few less", n)
		}
		if n := r.log.Len(); n != 1 {
			t.Errorf("log: %v", r.log.All())
		}
	})
}

// TestQueueAway has SQS fail for an hour in each way: the calls, the log and the
// time to recover stay bounded.
func TestQueueAway(t *testing.T) {
	staticKeys(t)
	api := func(status int, code string) func(string) (*http.Response, error) {
		return func(string) (*http.Response, error) {
			return answer(status, `{"__type":"com.amazonaws.sqs#`+code+`","message":"planted-detail"}`), nil
		}
	}
	network := func(err error) func(string) (*http.Response, error) {
		return func(string) (*http.Response, error) { return nil, err }
	}
	for _, tt := range []struct {
		name   string
		fails  func(string) (*http.Response, error)
		logged string // in the one line
	}{
		{"throttled", api(403, "RequestThrottled"), "RequestThrottled"},
		{"error 500", api(500, "InternalFailure"), "InternalFailure"},
		{"denied", api(400, "AccessDeniedException"), "allow sqs:ReceiveMessage on this queue"},
		{"no such queue", api(400, "QueueDoesNotExist"), "check rotation.events.sqs_queue_url"},
		{"no key", api(400, "KmsAccessDenied"), "allow kms:Decrypt"},
		{"no AWS", func(string) (*http.Response, error) { return answer(200, "<html>planted-detail"), nil }, "not one of AWS's"},
		{"refused", network(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), "connection refused"},
		{"no name", network(&net.DNSError{Err: "no such host", Name: "sqs"}), "no such host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				stop := r.watch(t, ordersARN)
				defer stop()
				time.Sleep(time.Minute)
				before := r.sqs.count("ReceiveMessage")
				r.sqs.fail(tt.fails)
				time.Sleep(time.Hour)
				if n := r.sqs.count("ReceiveMessage") - before; n < 60 || n > 600 {
					t.Errorf("%d calls in an hour", n)
				}
				warnings := r.log.FilterMessageSnippet("cannot be read").All()
				if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0].ContextMap()), tt.logged) {
					t.Errorf("warnings %v, want one with %s", warnings, tt.logged)
				}
				if n := r.calls.count("ReceiveMessage false"); n < 60 {
					t.Errorf("%d failed calls observed", n)
				}
				r.sqs.fail(nil)
				r.sqs.send(labelUpdated("prod/orders", ordersARN))
				time.Sleep(maxBackoff + time.Second)
				if r.changesOf(ordersARN) != 1 {
					t.Errorf("after the recovery %d events were told, want 1", r.changesOf(ordersARN))
				}
				if n := r.log.FilterMessageSnippet("can be read again").Len(); n != 1 || r.log.Len() != 3 {
					t.Errorf("log after the recovery: %v", r.log.All())
				}
			})
		})
	}
}

// TestUndeletable shows that messages that come again, because they could not be
// deleted, are told once and said once.
func TestUndeletable(t *testing.T) {
	staticKeys(t)
	for name, fails := range map[string]*http.Response{
		"denied": answer(400, `{"__type":"AccessDeniedException","message":"no"}`),
		"failed": answer(200, `{"Failed":[{"Id":"0","Code":"ReceiptHandleIsInvalid","SenderFault":true}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			text, _ := io.ReadAll(fails.Body)
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				again := func(operation string) (*http.Response, error) {
					if operation == "DeleteMessageBatch" {
						return answer(fails.StatusCode, string(text)), nil
					}
					time.Sleep(hidden) // then it is visible again
					body, _ := json.Marshal(labelUpdated("prod/orders", ordersARN))
					return answer(200, `{"Messages":[{"MessageId":"same","ReceiptHandle":"r","Body":`+string(body)+`}]}`), nil
				}
				r.sqs.fail(again)
				stop := r.watch(t, ordersARN)
				time.Sleep(time.Hour)
				stop()
				if n := r.changesOf(ordersARN); n != 1 {
					t.Errorf("told %d times", n)
				}
				if n := r.log.FilterMessageSnippet("cannot be read").Len(); n != 1 {
					t.Errorf("log: %v", r.log.All())
				}
				if n := r.sqs.count("DeleteMessageBatch"); n < 30 {
					t.Errorf("%d tries to delete", n)
				}
			})
		})
	}
}

// TestAQueueOfSomebodyElse leaves to others what is for them, says so once, and takes what
// is an event. The stand-in shows a message again 30 s after it was received.
func TestAQueueOfSomebodyElse(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		ours, _ := json.Marshal(labelUpdated("prod/orders", ordersARN))
		var received atomic.Int64
		r.sqs.fail(func(operation string) (*http.Response, error) {
			if operation == "DeleteMessageBatch" {
				return nil, nil
			}
			received.Add(1)
			time.Sleep(hidden)
			event := ""
			if received.Load() == 5 {
				event = `,{"MessageId":"event","ReceiptHandle":"r","Body":` + string(ours) + `}`
			}
			return answer(200, `{"Messages":[{"MessageId":"order","ReceiptHandle":"r","Body":"{\"order\":1}"},
				{"MessageId":"object","ReceiptHandle":"r","Body":"{\"source\":\"aws.s3\"}"}`+event+`]}`), nil
		})
		stop := r.watch(t, ordersARN)
		time.Sleep(time.Hour)
		stop()
		if n := r.sqs.deletions(); n != 1 {
			t.Errorf("%d messages deleted, want the event alone: %s", n, r.sqs.lastBody["DeleteMessageBatch"])
		}
		if n := r.changesOf(ordersARN); n != 1 {
			t.Errorf("%d looks asked for", n)
		}
		if warn := r.logged("warn"); len(warn) != 1 || !strings.Contains(warn[0], "credproxy alone") {
			t.Errorf("log: %q", warn)
		}
	})
}

// TestFlood has a queue that is never empty: calls, looks and the log stay bounded.
func TestFlood(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		for range 5_000 {
			r.sqs.send(labelUpdated("prod/orders", ordersARN), "garbled")
		}
		stop := r.watch(t, ordersARN)
		time.Sleep(3 * time.Minute)
		stop()
		if n := r.sqs.count("ReceiveMessage"); n > 901 {
			t.Errorf("%d calls in 3 minutes", n)
		}
		if n := r.changesOf(ordersARN); n > 901 || n < 300 {
			t.Errorf("%d looks asked for", n)
		}
		if n := r.log.FilterMessageSnippet("no events").Len(); n < 2 || n > 4 {
			t.Errorf("%d lines on garbled messages", n)
		}
	})
}

// TestStopsWhilePolling ends a watch in the middle of a long poll.
func TestStopsWhilePolling(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		stop := r.watch(t, ordersARN)
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		for _, e := range r.log.All() {
			if e.Level >= zap.WarnLevel {
				t.Errorf("stopping is logged as trouble: %v", e)
			}
		}
		if n := r.calls.count("ReceiveMessage false"); n != 0 {
			t.Errorf("stopping counts as %d failed calls", n)
		}
	})
}

// TestQueuesUntil has another process read the queue: what comes then is left for it.
func TestQueuesUntil(t *testing.T) {
	staticKeys(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		until, leave := context.WithCancel(t.Context())
		r.queues.Until = until
		stop, stopOther := r.watch(t, ordersARN), r.watch(t, stockARN)
		time.Sleep(time.Second)
		leave()
		synctest.Wait()
		r.sqs.send(labelUpdated("prod/orders", ordersARN))
		time.Sleep(time.Minute)
		if n := r.sqs.deletions(); n != 0 || r.changesOf(ordersARN) != 0 {
			t.Errorf("%d messages were read after the end", n)
		}
		stop()
		stopOther()
	})
}

type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) { e.read += int64(len(p)); return len(p), nil }

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnswersAreCapped(t *testing.T) {
	source := &endless{}
	c := capped{clientFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{Body: io.NopCloser(source)}, nil
	})}
	resp, err := c.Do(nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil || n > maxAnswer {
		t.Errorf("read %d bytes, error %v", n, err)
	}
	c.client = clientFunc(func(*http.Request) (*http.Response, error) { return nil, io.EOF })
	if _, err := c.Do(nil); err != io.EOF {
		t.Errorf("error %v", err)
	}
}

// TestQueueEndpoint shows where the calls go.
func TestQueueEndpoint(t *testing.T) {
	for _, tt := range []struct{ url, env, want string }{
		{queueURL, "", "https://sqs.eu-west-1.amazonaws.com"},
		{"https://queue.amazonaws.com/123456789012/q", "", "https://sqs.us-east-1.amazonaws.com"},
		{"https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", "", "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"},
		{"http://127.0.0.1:4566/123456789012/q", "", "http://127.0.0.1:4566"},
		{queueURL, "AWS_ENDPOINT_URL", "http://stand-in:1"},
		{"https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", "AWS_ENDPOINT_URL_SQS", "http://stand-in:1"},
	} {
		t.Run(tt.url+" "+tt.env, func(t *testing.T) {
			staticKeys(t)
			t.Setenv("AWS_REGION", "ap-south-1") // for a URL that names none
			if tt.env != "" {
				t.Setenv(tt.env, "http://stand-in:1")
			}
			q, err := newQueue(t.Context(), tt.url, nil, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			place, _ := url.Parse(tt.url)
			var called string
			cfg := q.config.AWS
			cfg.HTTPClient = clientFunc(func(r *http.Request) (*http.Response, error) {
				called = r.URL.Scheme + "://" + r.URL.Host
				return answer(200, "{}"), nil
			})
			q.client = newClient(cfg, place)
			if err := q.receive(t.Context()); err != nil || called != tt.want {
				t.Errorf("called %s (%v), want %s", called, err, tt.want)
			}
		})
	}
}
