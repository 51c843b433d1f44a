package config

import (
	"net/url"
	"regexp"
	"strings"
)

// queuePath ends with the account and the name of a queue; what stands before
// them is that of stand-ins for AWS.
var queuePath = capped{regexp.MustCompile(`^(?:/[A-Za-z0-9._-]+)*/[0-9]{12}/([A-Za-z0-9_-]+)(?:\.fifo)?$`), 80}

// events checks the queue that reports rotations.
func (v *validator) events(at string, d *Database) {
	path, queue := at+".rotation.events.sqs_queue_url", d.Rotation.Events.SQSQueueURL
	if queue == "" {
		return
	}
	if wrong := queueMistake(queue); wrong != "" {
		v.fail(path, wrong+"; write one such as https://sqs.eu-west-1.amazonaws.com/123456789012/rotations")
	}
	if d.Credentials.SecretsManager == nil {
		v.fail(path, "only secrets_manager credentials have events; remove it")
	}
}

// queueMistake returns what is wrong with the URL of a queue, "" if nothing is.
func queueMistake(queue string) string {
	u, err := url.Parse(queue)
	switch {
	case strings.HasPrefix(queue, "arn:"):
		return "the ARN of a queue, not its URL"
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || !isHost(u.Hostname()) || u.User != nil:
		return "not the URL of a queue"
	case !queuePath.MatchString(u.Path) || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "not the URL of a queue, which ends with the account's number and the queue's name"
	case u.Scheme == "http" && strings.Contains(u.Hostname()+".", ".amazonaws.com."):
		return "not over TLS"
	}
	return ""
}
