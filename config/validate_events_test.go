package config_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// TestQueueURLs shows which URLs of queues a configuration may have.
func TestQueueURLs(t *testing.T) {
	const ok = ""
	for url, want := range map[string]string{
		"https://sqs.eu-west-1.amazonaws.com/123456789012/rotations":             ok,
		"https://sqs.cn-north-1.amazonaws.com.cn/123456789012/rotations.fifo":    ok,
		"https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/a_b-c": ok,
		"https://eu-west-1.queue.amazonaws.com/123456789012/q":                   ok,
		"http://127.0.0.1:4566/000000000000/q":                                   ok,
		"http://localstack:4566/queue/eu-west-1/000000000000/q":                  ok,
		"arn:aws:sqs:eu-west-1:123456789012:rotations":                           "the ARN of a queue, not its URL",
		"rotations": "not the URL of a queue;",
		"ftp://sqs.eu-west-1.amazonaws.com/123456789012/q":                            "not the URL of a queue;",
		"https:///123456789012/q":                                                     "not the URL of a queue;",
		"https://key:planted@sqs.eu-west-1.amazonaws.com/123456789012/q":              "not the URL of a queue;",
		"https://sqs.eu-west-1.amazonaws.com/":                                        "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/rotations":                               "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/":                           "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/1234/q":                                  "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/q?Action=ReceiveMessage":    "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/q#x":                        "account's number and the queue's name",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/" + strings.Repeat("q", 81): "account's number and the queue's name",
		"http://sqs.eu-west-1.amazonaws.com/123456789012/q":                           "not over TLS",
	} {
		_, err := config.Parse("f.yaml", []byte(`
databases:
  - name: a
    credentials: {secrets_manager: {secret_id: s}}
    rotation: {events: {sqs_queue_url: "`+url+`"}}
`))
		switch {
		case want == ok && err != nil:
			t.Errorf("%s: %v", url, err)
		case want != ok && (err == nil || !strings.Contains(err.Error(), "f.yaml:5:40: databases[0].rotation.events.sqs_queue_url: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want …%s…", url, err, want)
		case err != nil && strings.Contains(err.Error(), "planted"):
			t.Errorf("the error quotes the value: %v", err)
		}
	}
}
