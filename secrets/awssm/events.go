package awssm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

const (
	// maxEvent caps a message, in bytes. An event has less than 2 KiB.
	maxEvent = 64 << 10
	// maxBrackets caps the objects and lists in it, and with them their depth. An
	// event has 3, and within a notification of SNS a few more.
	maxBrackets = 100
	// maxResources is how many of its resources are looked at. An event has one.
	maxResources = 8
)

// event is what counts of an event of EventBridge ("Secret Label Updated event" in
// the user guide of Secrets Manager), and of a notification of SNS around one.
type event struct {
	Source    string   `json:"source"`
	Resources []string `json:"resources"` // ARNs
	Detail    struct {
		Name string `json:"name"`
	} `json:"detail"`

	Type    string `json:"Type"`
	Message string `json:"Message"`
}

// parseEvent returns the names of the secret that an event is about, in every form
// that namesOf knows. It takes an event as EventBridge sends it to a queue, directly or
// through a topic of SNS; what is no event of Secrets Manager is an error.
//
// Which label moved is not asked: AWS tells of all but AWSPENDING and AWSPREVIOUS,
// and a look that was not needed costs one call.
func parseEvent(body []byte) (names []string, err error) {
	e, err := decodeEvent(body)
	if err == nil && e.Source == "" && e.Type == "Notification" {
		e, err = decodeEvent([]byte(e.Message))
	}
	switch {
	case err != nil:
		return nil, err
	case e.Source == "":
		return nil, errors.New("an event without a source")
	case e.Source != "aws.secretsmanager":
		return nil, errors.New("an event of another source")
	}
	for _, id := range append(e.Resources[:min(len(e.Resources), maxResources)], e.Detail.Name) {
		names = append(names, namesOf(id)...)
	}
	if len(names) == 0 {
		return nil, errors.New("an event of Secrets Manager that names no secret")
	}
	return names, nil
}

func decodeEvent(body []byte) (e event, err error) {
	if len(body) > maxEvent {
		return e, fmt.Errorf("a message of %d bytes", len(body))
	}
	if n := bytes.Count(body, []byte("{")) + bytes.Count(body, []byte("[")); n > maxBrackets {
		return e, fmt.Errorf("a message with %d objects and lists", n)
	}
	if json.Unmarshal(body, &e) != nil { // its error would quote the message
		return e, errors.New("a message that is not the JSON of an event")
	}
	return e, nil
}

// arnSuffix is what Secrets Manager appends to a name in an ARN.
var arnSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// namesOf returns what a secret may be called that is configured or told of as id:
// its name, and what its ARN has in place of it. Two secrets may share one, and
// then one is looked at for nothing; better than not to look.
func namesOf(id string) []string {
	if id == "" {
		return nil
	}
	a, err := arn.Parse(id)
	if err != nil {
		return []string{id}
	}
	name := strings.TrimPrefix(a.Resource, "secret:")
	if short := arnSuffix.ReplaceAllString(name, ""); short != name && short != "" {
		return []string{name, short}
	}
	return []string{name}
}
