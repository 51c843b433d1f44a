package integration_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// eventsStand is two databases that hear of rotations through one queue, and one,
// "scheduled", that does not. With refresh at an hour only an event can tell of a
// rotation: both users of the secret can log in at any time, so no login is
// refused.
type eventsStand struct {
	*watched
	aws  *awsstub.Server
	pg   *servers.Postgres
	arns map[string]string // of the secret, by database
}

const queueName = "rotations"

func newEventsStand(t *testing.T) *eventsStand {
	pg := newPostgres(t, servers.PostgresOptions{Version: 15})
	if err := pg.CreateRole(t.Context(), "app_clone", appPassword); err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::" + awsstub.AccountID + ":role/reader"
	// What the documentation says is enough.
	aws := startAWS(t, awsstub.Options{
		Identities: []awsstub.Identity{{AccessKeyID: "AKIAPLANTEDSTATIC", SecretAccessKey: secretAccessKey, Allow: func(action, resource string) bool {
			if strings.HasPrefix(action, "sqs:") {
				return (action == "sqs:ReceiveMessage" || action == "sqs:DeleteMessage") && strings.HasSuffix(resource, ":"+queueName)
			}
			return true
		}}},
		Roles: []awsstub.Role{{ARN: role, Allow: func(action, _ string) bool { return !strings.HasPrefix(action, "sqs:") }}},
	})
	s := &eventsStand{aws: aws, pg: pg, arns: map[string]string{}}
	for _, name := range []string{"orders", "stock", "scheduled"} {
		s.arns[name] = aws.CreateSecret("prod/"+name, secretJSON(pg, "app", appPassword))
	}
	aws.CreateQueue(queueName)
	// The SDK's endpoint is the stand-in, whatever the host of the queue.
	events := "rotation: {events: {sqs_queue_url: https://sqs.eu-west-1.amazonaws.com/" + awsstub.AccountID + "/" + queueName + "}}"
	tls := "tls: " + tlsYAML("", pg.CAFile)
	config := "databases:\n" +
		database("orders", fmt.Sprintf("secrets_manager: {secret_id: %q, assume_role: {role_arn: %q}}", s.arns["orders"], role), tls, events) +
		database("stock", "secrets_manager: {secret_id: prod/stock}", tls, events) +
		database("scheduled", fmt.Sprintf("secrets_manager: {secret_id: %q}", s.arns["scheduled"]), tls)
	s.watched = watch(t, sidecar.Options{Config: config, Env: aws.Env()}, appPassword, secretAccessKey)
	return s
}

// rotate makes user the current one of a database's secret.
func (s *eventsStand) rotate(name, user string) {
	s.aws.PutSecret(s.arns[name], secretJSON(s.pg, user, appPassword))
}

// user is whom credproxy logs in at a database now.
func (w *watched) user(t *testing.T, name string) string {
	t.Helper()
	conn := connect(t, w.Addr(t, name), "")
	defer conn.Close(context.Background())
	return ask(t, conn, "SELECT current_user")
}

func (s *eventsStand) awaitUser(t *testing.T, name, user string) {
	t.Helper()
	began := time.Now()
	sidecar.Await(t, "an event of "+name, func() bool { return s.user(t, name) == user })
	t.Logf("%s logs in as %s %v after the rotation", name, user, time.Since(began).Round(time.Millisecond))
}

// TestRotationEvents shows that a rotation is taken up at once where an event
// tells of it, and not where only the schedule does; that it is so again after the
// queue could not be read; and what all of it costs.
func TestRotationEvents(t *testing.T) {
	s := newEventsStand(t)
	for name := range s.arns {
		if got := s.user(t, name); got != "app" {
			t.Fatalf("%s logs in as %s", name, got)
		}
	}
	for name := range s.arns {
		s.rotate(name, "app_clone")
	}
	s.awaitUser(t, "orders", "app_clone")
	s.awaitUser(t, "stock", "app_clone")
	sidecar.Await(t, "an empty queue", func() bool { return s.aws.Queued(queueName) == 0 }) // that of scheduled, too, which is nobody's
	if got := s.user(t, "scheduled"); got != "app" {
		t.Errorf("scheduled logs in as %s, although nothing told it to look", got)
	}
	for _, name := range []string{"orders", "stock"} {
		awaitMetric(t, s.Proxy, 1, "credproxy_credential_refresh_total", fmt.Sprintf("database=%q", name), `reason="changed"`, `result="ok"`)
	}

	// The queue goes, and comes back.
	s.aws.Inject("ReceiveMessage", awsstub.Fault{Kind: awsstub.AccessDenied})
	s.aws.Send(queueName, "not an event: "+appPassword) // ends the call that waits
	s.AwaitLog(t, "allow sqs:ReceiveMessage on this queue")
	failing := s.aws.Calls("ReceiveMessage")
	sidecar.Await(t, "more tries", func() bool { return s.aws.Calls("ReceiveMessage") >= failing+2 })
	s.rotate("stock", "app")
	s.aws.ClearFaults()
	s.awaitUser(t, "stock", "app")

	s.checkCosts(t)
}

// checkCosts checks that one reader at a time has read the queue, as credproxy
// itself, and what was said of it.
func (s *eventsStand) checkCosts(t *testing.T) {
	t.Helper()
	waiting := 0
	for _, call := range s.aws.Log() {
		if call.Operation == "ReceiveMessage" && call.Result == awsstub.ResultPending {
			waiting++
		}
		if (call.Operation == "ReceiveMessage" || call.Operation == "DeleteMessageBatch") && call.AccessKeyID != "AKIAPLANTEDSTATIC" {
			t.Errorf("%s with the key %s", call.Operation, call.AccessKeyID)
		}
	}
	if waiting > 1 {
		t.Errorf("%d calls wait at the queue, want one", waiting)
	}
	for _, line := range []string{"listening for rotation events", "rotation events cannot be read", "rotation events can be read again", "messages that are no events"} {
		s.AwaitLog(t, line)
		if n := strings.Count(s.Log(), line); n != 1 {
			t.Errorf("%q is logged %d times", line, n)
		}
	}
	// Counted at the first database that names the queue.
	if n, err := s.Metric("credproxy_secret_api_calls_total", `database="orders"`, `operation="ReceiveMessage"`, `result="access_denied"`); err != nil || n < 2 {
		t.Errorf("failed calls: %v, %v", n, err)
	}
	if n := s.aws.Calls("GetSecretValue"); n > 6 {
		t.Errorf("%d calls of GetSecretValue for 6 versions", n)
	}
}

// TestEventsEnd shows that credproxy ends at once while it waits for messages, and
// that it starts and serves without its queue.
func TestEventsEnd(t *testing.T) {
	s := newEventsStand(t)
	sidecar.Await(t, "a call that waits", func() bool { return s.aws.Calls("ReceiveMessage") > 0 })
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("credproxy ended after %v, as if it waited for the long poll to end", took)
	}

	s.aws.DeleteQueue(queueName)
	config := "databases:\n" + smDatabase("main", s.arns["stock"], "tls: "+tlsYAML("", s.pg.CAFile),
		"rotation: {events: {sqs_queue_url: https://sqs.eu-west-1.amazonaws.com/"+awsstub.AccountID+"/"+queueName+"}}")
	w := watch(t, sidecar.Options{Config: config, Env: s.aws.Env()}, appPassword)
	w.AwaitLog(t, "check rotation.events.sqs_queue_url")
	w.recovers(t, "main", "")
	if ready, why := w.ready(t); !ready {
		t.Errorf("not ready: %s", why)
	}
}
