package awsstub_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func sqsClient(t *testing.T, s *awsstub.Server) *awssqs.Client {
	return awssqs.NewFromConfig(sdk(t, s.Env()))
}

// receive gets up to ten messages at once, or waits for the first.
func receive(t *testing.T, c *awssqs.Client, url string, wait int32) []types.Message {
	t.Helper()
	out, err := c.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait})
	if err != nil {
		t.Fatal(err)
	}
	return out.Messages
}

// TestLabelsThatMoveAreTold shows which moves of labels are events, and their form.
func TestLabelsThatMoveAreTold(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	s := start(t, awsstub.Options{Now: func() time.Time { return now }})
	url := s.CreateQueue("rotations")
	arn := s.CreateSecret("prod/orders", "one")
	first := s.Secret("prod/orders").Versions[0].ID
	second := s.BeginRotation("prod/orders")
	s.PutSecret("prod/orders", "two", awsstub.Pending)
	s.MoveLabel("prod/orders", awsstub.Current, second)
	s.MoveLabel("prod/orders", awsstub.Current, second) // is there already
	s.MoveLabel("prod/orders", awsstub.Pending, "")
	s.MoveLabel("prod/orders", "blue", second)
	s.MoveLabel("prod/orders", awsstub.Current, first)

	var got []map[string]any
	q := awssqs.NewFromConfig(sdk(t, s.Env()), func(o *awssqs.Options) { o.HTTPSignerV4 = atTime{o.HTTPSignerV4, now} })
	for _, m := range receive(t, q, url, 0) {
		var event map[string]any
		if err := json.Unmarshal([]byte(*m.Body), &event); err != nil {
			t.Fatal(err)
		}
		if id, _ := event["id"].(string); len(id) != 36 {
			t.Errorf("event id %q", id)
		}
		delete(event, "id")
		got = append(got, event)
	}
	var want []map[string]any
	for _, move := range []struct{ label, version string }{{awsstub.Current, second}, {"blue", second}, {awsstub.Current, first}} {
		want = append(want, map[string]any{
			"version": "0", "detail-type": "Secret Label Updated", "source": "aws.secretsmanager", "account": awsstub.AccountID,
			"time": "2026-01-02T03:04:05Z", "region": "eu-west-1", "resources": []any{arn},
			"detail": map[string]any{"name": "prod/orders", "labelUpdated": move.label, "versionId": move.version},
		})
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("events %v\nwant   %v", got, want)
	}
}

// atTime signs requests at a fixed time.
type atTime struct {
	awssqs.HTTPSignerV4
	now time.Time
}

func (a atTime) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, opts ...func(*v4.SignerOptions)) error {
	return a.HTTPSignerV4.SignHTTP(ctx, c, r, hash, service, region, a.now, opts...)
}

// TestLongPoll shows that a call waits for a message, and for one to be visible again.
func TestLongPoll(t *testing.T) {
	s := start(t, awsstub.Options{})
	url := s.CreateQueue("q")
	c := sqsClient(t, s)
	if got := receive(t, c, url, 0); len(got) != 0 {
		t.Errorf("an empty queue gave %v", got)
	}
	s.ResetCalls()
	got := make(chan []types.Message)
	go func() { got <- receive(t, c, url, 20) }()
	waitFor(t, "the call to wait", func() bool { return s.Calls("ReceiveMessage") == 1 })
	s.Send("q", "one")
	if m := <-got; len(m) != 1 || *m[0].Body != "one" {
		t.Fatalf("received %v", m)
	}

	hide := func(seconds int32) []types.Message {
		out, err := c.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20, VisibilityTimeout: seconds})
		if err != nil {
			t.Fatal(err)
		}
		return out.Messages
	}
	s.Send("q", "two")
	if m := hide(1); len(m) != 1 || *m[0].Body != "two" {
		t.Fatalf("received %v", m)
	}
	if m := hide(30); len(m) != 1 || *m[0].Body != "two" { // after a second
		t.Fatalf("received %v", m)
	}
	if got := receive(t, c, url, 1); len(got) != 0 {
		t.Errorf("hidden messages were received: %v", got)
	}
	if n := s.Queued("q"); n != 2 {
		t.Errorf("%d messages in the queue, want 2", n)
	}
}

// A client that leaves and a server that closes end a long poll.
func TestLongPollEnds(t *testing.T) {
	s := start(t, awsstub.Options{})
	url := s.CreateQueue("q")
	c := sqsClient(t, s)
	poll := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		n := s.Calls("ReceiveMessage")
		go func() {
			_, err := c.ReceiveMessage(ctx, &awssqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20})
			done <- err
		}()
		waitFor(t, "the call to wait", func() bool { return s.Calls("ReceiveMessage") > n })
		return done
	}
	ctx, leave := context.WithCancel(t.Context())
	left := poll(ctx)
	leave()
	if err := <-left; err == nil {
		t.Error("a client that left was answered")
	}
	waitFor(t, "the server to notice", func() bool { return s.Log()[0].Result == awsstub.ResultHung })
	closed := poll(t.Context())
	s.Close()
	if err := <-closed; err == nil {
		t.Error("a closed server answered")
	}
}

func TestDeleteMessage(t *testing.T) {
	s := start(t, awsstub.Options{})
	url := s.CreateQueue("q")
	c := sqsClient(t, s)
	for range 3 {
		s.Send("q", "message")
	}
	got := receive(t, c, url, 0)
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	if _, err := c.DeleteMessage(t.Context(), &awssqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
		t.Error(err)
	}
	_, err := c.DeleteMessage(t.Context(), &awssqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: aws.String("made up")})
	wantAPIError(t, err, "ReceiptHandleIsInvalid", "")
	entry := func(id string, handle *string) types.DeleteMessageBatchRequestEntry {
		return types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: handle}
	}
	out, err := c.DeleteMessageBatch(t.Context(), &awssqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []types.DeleteMessageBatchRequestEntry{
		entry("a", got[1].ReceiptHandle), entry("b", aws.String("made up")), entry("c", got[0].ReceiptHandle),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var deleted []string
	for _, e := range out.Successful {
		deleted = append(deleted, *e.Id)
	}
	if !slices.Equal(deleted, []string{"a", "c"}) || len(out.Failed) != 1 || *out.Failed[0].Id != "b" || *out.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("deleted %v, failed %v", deleted, out.Failed)
	}
	if n := s.Queued("q"); n != 1 {
		t.Errorf("%d messages left, want 1", n)
	}
	_, err = c.DeleteMessageBatch(t.Context(), &awssqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: []types.DeleteMessageBatchRequestEntry{
		entry("a", got[1].ReceiptHandle), entry("a", got[2].ReceiptHandle)}})
	wantAPIError(t, err, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "")
}

// TestQueueErrors shows the codes that a client of SQS hears.
func TestQueueErrors(t *testing.T) {
	s := start(t, awsstub.Options{})
	url := s.CreateQueue("q")
	c := sqsClient(t, s)
	poll := func(url string) error {
		_, err := c.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url})
		return err
	}
	for _, tt := range []struct {
		kind awsstub.FaultKind
		code string
	}{
		{awsstub.Throttle, "RequestThrottled"}, {awsstub.InternalError, "InternalFailure"}, {awsstub.Unavailable, "ServiceUnavailable"},
		{awsstub.AccessDenied, "AccessDenied"}, {awsstub.ExpiredToken, "ExpiredToken"},
	} {
		s.Inject("ReceiveMessage", awsstub.Fault{Kind: tt.kind, Times: 1})
		wantAPIError(t, poll(url), tt.code, "")
	}
	wantAPIError(t, poll(url+"x"), "AWS.SimpleQueueService.NonExistentQueue", "does not exist")
	wantAPIError(t, poll(strings.Replace(url, awsstub.AccountID, "000000000000", 1)), "AWS.SimpleQueueService.NonExistentQueue", "")
	_, err := c.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: 11})
	wantAPIError(t, err, "InvalidParameterValue", "MaxNumberOfMessages")
	s.DeleteQueue("q")
	wantAPIError(t, poll(url), "AWS.SimpleQueueService.NonExistentQueue", "")
	mustPanic(t, "send to a queue that is gone", func() { s.Send("q", "x") })

	// The signature and the policy are checked as for other services.
	s.AddIdentity(awsstub.Identity{AccessKeyID: "AKIAOTHER", SecretAccessKey: "other", Allow: func(action, resource string) bool {
		return action != "sqs:ReceiveMessage" || resource != "arn:aws:sqs:eu-west-1:123456789012:q"
	}})
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER")
	for key, code := range map[string]string{"other": "AccessDenied", "wrong": "InvalidSignatureException"} {
		t.Setenv("AWS_SECRET_ACCESS_KEY", key)
		c = awssqs.NewFromConfig(sdk(t, nil))
		wantAPIError(t, poll(url), code, "")
	}
}
