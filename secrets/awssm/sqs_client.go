package awssm

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

const (
	// pollTimeout bounds one exchange: SQS's wait, and the way there and back.
	pollTimeout = longPoll + 5*time.Second
	// maxAnswer caps an answer, in bytes: a batch of messages of SQS's largest size
	// (1 MiB), with room for escapes.
	maxAnswer = 16 << 20
)

// newClient makes a client for the queue at place. It calls the host that the
// URL names, unless that is the SDK's own or AWS_ENDPOINT_URL_SQS or
// AWS_ENDPOINT_URL name another.
func newClient(cfg aws.Config, place *url.URL) *sqs.Client {
	return sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		o.RetryMaxAttempts = 1 // the reader has its own backoff
		client := o.HTTPClient
		if b, ok := client.(*awshttp.BuildableClient); ok {
			client = b.WithTimeout(pollTimeout)
		}
		o.HTTPClient = capped{client}
		if o.BaseEndpoint == nil && !standardHost.MatchString(place.Hostname()) {
			o.BaseEndpoint = aws.String(place.Scheme + "://" + place.Host)
		}
	})
}

// capped caps the answers of an HTTP client.
type capped struct{ client sqs.HTTPClient }

func (c capped) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.client.Do(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}

// explainQueue makes a *secrets.Error of an error of SQS ("Errors" of each
// operation in its API reference), with what an operator would do about it.
func explainQueue(operation string, err error) error {
	if err == nil {
		return nil
	}
	reason, advice := classifyQueue(operation, err)
	return secrets.Errorf(reason, "%w%s", awscfg.Plain(err), advice)
}

func classifyQueue(operation string, err error) (reason secrets.Reason, advice string) {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return secrets.Unavailable, ""
	}
	switch code := api.ErrorCode(); {
	case strings.HasSuffix(code, "NonExistentQueue"), strings.HasSuffix(code, "QueueDoesNotExist"), code == "InvalidAddress":
		return secrets.NotFound, "; check rotation.events.sqs_queue_url: its region, account and name"
	case strings.HasPrefix(code, "KMS."), strings.HasPrefix(code, "Kms"):
		if strings.HasSuffix(code, "ThrottlingException") || code == "KmsThrottled" {
			return secrets.Unavailable, ""
		}
		return secrets.Denied, "; allow kms:Decrypt on the key that encrypts this queue, here and in the key's policy, and see that the key is enabled"
	}
	if reason = awscfg.ReasonOf(err); reason == secrets.Denied && strings.HasPrefix(api.ErrorCode(), "AccessDenied") {
		advice = "; allow sqs:" + strings.TrimSuffix(operation, "Batch") + " on this queue, here and in the queue's own policy if it is another account's"
	}
	return reason, advice
}
