package awssm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

const (
	// longPoll is how long SQS may keep a call waiting for a message, its maximum.
	longPoll = 20 * time.Second
	// hidden is how long others do not see a message that is being dealt with.
	hidden = 30 * time.Second
	// batch is how many messages a call may bring, SQS's maximum.
	batch = 10
	// breath passes between two calls, so that a queue that is flooded, or that
	// does not wait, costs at most 5 calls a second and 5 looks at a secret.
	breath = 200 * time.Millisecond
	// maxBackoff caps the wait between calls that fail.
	maxBackoff = 30 * time.Second
	// remembered is how many messages are known again that were not deleted.
	remembered = 100
	// foreignEvery is how often the log may say that messages are no events of ours.
	foreignEvery = time.Minute
)

// Queues are the SQS queues from which this process hears of rotations: rules of
// EventBridge send them Secrets Manager's event "Secret Label Updated". Each queue
// has one reader, however many secrets are watched through it.
//
// SQS gives a message to one reader. A process that is to hear of every rotation
// needs a queue of its own; of several that share one, each hears of a part. That
// is no harm: events only hasten what the schedule of secrets.Cache does anyway.
// An event of Secrets Manager is deleted once it was read, whichever secret it is about.
// Any other message is left where it is: the queue may be somebody else's, whose work it
// is.
//
// Queues are read with the AWS credentials of the process itself, never with the
// role that is assumed for a secret.
type Queues struct {
	Log *zap.Logger // required
	// Until, if it is set, ends the reading of all queues when it ends: another process reads them then, which
	// would miss what this one takes.
	Until context.Context

	mu    sync.Mutex
	byURL map[string]*queue
}

// Watched is a [Source] that hears of rotations. It is a secrets.Watcher.
type Watched struct {
	*Source
	queue *queue
}

// Watch returns src with a queue to hear of its rotations from. observe, if it is
// the first for this queue, is called after each API call (ReceiveMessage,
// DeleteMessageBatch) with nil or its *secrets.Error. Nothing is read until
// [Watched.Watch] is called.
func (qs *Queues) Watch(ctx context.Context, src *Source, queueURL string, observe func(operation string, err error)) (*Watched, error) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q := qs.byURL[queueURL]; q != nil {
		return &Watched{src, q}, nil
	}
	q, err := newQueue(ctx, queueURL, observe, qs.Log.With(zap.String("queue", queueURL)))
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", queueURL, err)
	}
	q.until = qs.Until
	if qs.byURL == nil {
		qs.byURL = make(map[string]*queue)
	}
	qs.byURL[queueURL] = q
	return &Watched{src, q}, nil
}

// Watch calls changed after each event that names the secret, until ctx ends, or Queues.Until.
func (w *Watched) Watch(ctx context.Context, changed func()) error {
	if w.queue.until != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(w.queue.until, cancel)()
	}
	defer w.queue.subscribe(namesOf(w.id), changed)()
	// One of those who watch reads for all; when it stops, another goes on.
	select {
	case w.queue.reader <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-w.queue.reader }()
	w.queue.read(ctx)
	return nil
}

// queue is one queue of SQS.
type queue struct {
	url     string
	until   context.Context // nil: for ever
	config  *awscfg.Config
	client  *sqs.Client
	observe func(operation string, err error)
	log     *zap.Logger
	reader  chan struct{} // holds a token while one reads

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}

	// The reader's own:
	seen      []message                 // the newest ones
	said      map[string]secrets.Reason // what the log says of each operation now; "" if it works
	foreign   int                       // messages that were no events of ours, since the log said so
	foreignAt time.Time
}

// message is one that was read.
type message struct {
	id    string
	event bool // of Secrets Manager
}

type subscriber struct {
	names   []string
	changed func()
}

func newQueue(ctx context.Context, queueURL string, observe func(operation string, err error), log *zap.Logger) (*queue, error) {
	place, err := url.Parse(queueURL)
	if err != nil || place.Host == "" {
		return nil, fmt.Errorf("not the URL of a queue")
	}
	config, err := (&awscfg.Shared{Log: log}).Load(ctx, awscfg.Options{Region: queueRegion(place.Hostname())})
	if err != nil {
		return nil, err
	}
	if observe == nil {
		observe = func(string, error) {}
	}
	return &queue{
		url: queueURL, config: config, client: newClient(config.AWS, place), observe: observe, log: log,
		reader: make(chan struct{}, 1), subscribers: make(map[*subscriber]struct{}), said: make(map[string]secrets.Reason),
	}, nil
}

const regionPattern = `([a-z]{2,}(?:-[a-z]+)+-[0-9]+)`

var (
	// standardHost matches the hosts that the SDK itself would call.
	standardHost = regexp.MustCompile(`^(?:sqs\.` + regionPattern + `|` + regionPattern + `\.queue|queue)\.amazonaws\.com(?:\.cn)?$`)
	// namedRegion matches those of SQS's other endpoints: FIPS, dual stack, VPC.
	namedRegion = regexp.MustCompile(`(?:^|\.)sqs(?:-fips)?\.` + regionPattern + `\.`)
)

// queueRegion is the region in the host name of a queue's URL, "" if there is none.
func queueRegion(host string) string {
	if m := standardHost.FindStringSubmatch(host); m != nil && m[1]+m[2] != "" {
		return m[1] + m[2]
	}
	if host == "queue.amazonaws.com" {
		return "us-east-1"
	}
	if m := namedRegion.FindStringSubmatch(host); m != nil {
		return m[1]
	}
	return ""
}

// subscribe has changed called for events of a secret, until the returned function
// is called.
func (q *queue) subscribe(names []string, changed func()) (cancel func()) {
	s := &subscriber{names, changed}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.subscribers[s] = struct{}{}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.subscribers, s)
	}
}

// read receives, tells and deletes until ctx ends.
func (q *queue) read(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		wait := breath
		switch err := q.receive(ctx); {
		case err != nil:
			failures++
			wait += rand.N(min(maxBackoff, time.Second<<min(failures-1, 16))) // full jitter
		default:
			failures = 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// receive waits for messages, tells whom they concern and deletes those that are events.
func (q *queue) receive(ctx context.Context) error {
	var out *sqs.ReceiveMessageOutput
	err := q.call(ctx, "ReceiveMessage", func() (err error) {
		out, err = q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &q.url, MaxNumberOfMessages: batch,
			WaitTimeSeconds: int32(longPoll / time.Second), VisibilityTimeout: int32(hidden / time.Second),
		})
		return err
	})
	if err != nil || len(out.Messages) == 0 {
		return err
	}
	events := q.tell(out.Messages)
	if len(events) == 0 {
		return nil
	}
	return q.call(ctx, "DeleteMessageBatch", func() error { return q.delete(ctx, events) })
}

func (q *queue) delete(ctx context.Context, messages []types.Message) error {
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url}
	for i, m := range messages {
		id := fmt.Sprint(i)
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: m.ReceiptHandle})
	}
	out, err := q.client.DeleteMessageBatch(ctx, in)
	if err == nil && len(out.Failed) > 0 {
		f := out.Failed[0]
		err = fmt.Errorf("%d of %d messages were not deleted: %s: %s", len(out.Failed), len(messages), aws.ToString(f.Code), aws.ToString(f.Message))
	}
	return err
}

// tell calls the subscribers that the messages concern, each once. It returns those
// messages that are events of Secrets Manager, and how many are new and none.
func (q *queue) tell(messages []types.Message) (events []types.Message) {
	var names []string
	for _, m := range messages {
		id := aws.ToString(m.MessageId)
		if i := slices.IndexFunc(q.seen, func(s message) bool { return s.id == id }); i >= 0 {
			if q.seen[i].event { // it could not be deleted when it came before
				events = append(events, m)
			}
			continue
		}
		of, err := parseEvent([]byte(aws.ToString(m.Body)))
		q.seen = append(q.seen, message{id, err == nil})
		q.seen = q.seen[max(0, len(q.seen)-remembered):]
		if err != nil {
			q.sayForeign(err)
			continue
		}
		names, events = append(names, of...), append(events, m)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for s := range q.subscribers {
		if slices.ContainsFunc(s.names, func(name string) bool { return slices.Contains(names, name) }) {
			s.changed()
		}
	}
	return events
}

// call does an API call and says how it went: to observe always, to the log when
// it goes otherwise than the last time.
func (q *queue) call(ctx context.Context, operation string, do func() error) error {
	signer, err := q.config.Credentials(ctx)
	if err == nil {
		err = do()
		if awscfg.Expired(err) {
			q.config.Invalidate(signer)
		}
		err = explainQueue(operation, err)
		if ctx.Err() == nil { // else we leave, which says nothing
			q.observe(operation, err)
		}
	}
	if ctx.Err() != nil {
		return err
	}
	reason := secrets.Reason("")
	if err != nil {
		reason = secrets.ReasonOf(err)
	}
	said, known := q.said[operation]
	q.said[operation] = reason
	switch {
	case err != nil && (!known || said != reason):
		q.log.Warn("rotation events cannot be read; rotations are noticed by rotation.refresh and at a refused login until then",
			zap.String("operation", operation), zap.Error(err))
	case err == nil && known && said != "":
		q.log.Info("rotation events can be read again", zap.String("operation", operation))
	case err == nil && !known && operation == "ReceiveMessage":
		q.log.Info("listening for rotation events")
	}
	return err
}

// sayForeign logs that a message is no event of Secrets Manager, now and then.
func (q *queue) sayForeign(err error) {
	q.foreign++
	if time.Since(q.foreignAt) < foreignEvery {
		return
	}
	q.log.Warn("the queue holds messages that are no events of Secrets Manager; they are left there: it should be a queue for credproxy alone",
		zap.Int("messages", q.foreign), zap.Error(err))
	q.foreign, q.foreignAt = 0, time.Now()
}
