package awssm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// labelUpdated is the example of the user guide, with names put in.
func labelUpdated(name, arn string) string {
	e, _ := json.Marshal(map[string]any{
		"version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "Secret Label Updated",
		"source": "aws.secretsmanager", "account": "123456789012", "time": "2024-02-06T16:43:48Z", "region": "eu-west-1",
		"resources": []string{arn},
		"detail":    map[string]string{"name": name, "labelUpdated": "AWSCURRENT", "versionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111"},
	})
	return string(e)
}

// notification is a message that SNS puts around another.
func notification(message string) string {
	n, _ := json.Marshal(map[string]any{"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:t", "Message": message})
	return string(n)
}

const (
	ordersARN  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"
	partialARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders"
)

// TestEventConcerns shows which configured secrets hear of an event.
func TestEventConcerns(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		concerns      bool // the secret prod/orders
	}{
		{"event", labelUpdated("prod/orders", ordersARN), true},
		{"name alone", `{"source":"aws.secretsmanager","detail":{"name":"prod/orders"}}`, true},
		{"ARN as name", labelUpdated(ordersARN, ordersARN), true},
		{"ARN as name alone", `{"source":"aws.secretsmanager","detail":{"name":"` + ordersARN + `"}}`, true},
		{"resource alone", `{"source":"aws.secretsmanager","resources":["` + ordersARN + `"]}`, true},
		{"through SNS", notification(labelUpdated("prod/orders", ordersARN)), true},
		{"another secret", labelUpdated("prod/stock", strings.Replace(ordersARN, "orders", "stock", 1)), false},
		{"longer name", labelUpdated("prod/orders2", strings.Replace(ordersARN, "orders", "orders2", 1)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names, err := parseEvent([]byte(tt.message))
			if err != nil {
				t.Fatal(err)
			}
			for _, configured := range []string{"prod/orders", ordersARN, partialARN} {
				concerns := slices.ContainsFunc(namesOf(configured), func(n string) bool { return slices.Contains(names, n) })
				if concerns != tt.concerns {
					t.Errorf("concerns %s: %v, want %v (names %v)", configured, concerns, tt.concerns, names)
				}
			}
		})
	}
}

func TestGarbledEvents(t *testing.T) {
	for want, messages := range map[string][]string{
		"not the JSON":       {"", "x", "[]", `"text"`, "{", `{"source":1}`, `{"source":"aws.secretsmanager","resources":"x"}`, notification("x")},
		"another source":     {strings.Replace(labelUpdated("prod/orders", ordersARN), "aws.secretsmanager", "aws.ec2", 1)},
		"without a source":   {"{}", "null", `{"detail":{"name":"prod/orders"}}`, notification("{}"), notification(notification(labelUpdated("a", "b")))},
		"names no secret":    {`{"source":"aws.secretsmanager"}`, `{"source":"aws.secretsmanager","resources":[""],"detail":{"name":""}}`},
		"bytes":              {strings.Repeat(" ", maxEvent+1), `{"source":"` + strings.Repeat("x", maxEvent) + `"}`},
		"objects and lists":  {strings.Repeat("[", 101), `{"x":` + strings.Repeat(`{"x":`, 100)},
		"a message that is ": {notification("planted")},
	} {
		for _, m := range messages {
			names, err := parseEvent([]byte(m))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.50q: names %v, error %v, want …%s…", m, names, err, want)
			} else if strings.Contains(err.Error(), "planted") {
				t.Errorf("the error quotes the message: %v", err)
			}
		}
	}
}

func TestQueueRegion(t *testing.T) {
	for host, want := range map[string]string{
		"sqs.eu-west-1.amazonaws.com":                 "eu-west-1",
		"sqs.us-gov-west-1.amazonaws.com":             "us-gov-west-1",
		"sqs.cn-north-1.amazonaws.com.cn":             "cn-north-1",
		"eu-central-1.queue.amazonaws.com":            "eu-central-1",
		"queue.amazonaws.com":                         "us-east-1",
		"sqs-fips.us-east-1.amazonaws.com":            "us-east-1",
		"sqs.eu-west-1.api.aws":                       "eu-west-1",
		"vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com": "eu-west-1",
		"sqs.eu-west-1.localhost.localstack.cloud":    "eu-west-1",
		"localhost": "",
		"127.0.0.1": "",
		"notsqs.eu-west-1.amazonaws.com.attacker.example":   "",
		"queue.amazonaws.com.attacker.example":              "",
		"sqs.eu-west-1.amazonaws.com.proxy.corp.example.io": "eu-west-1",
	} {
		if got := queueRegion(host); got != want {
			t.Errorf("region of %s is %q, want %q", host, got, want)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(labelUpdated("prod/orders", ordersARN))
	f.Add(notification(labelUpdated("prod/orders", ordersARN)))
	f.Add(`{"source":"aws.secretsmanager","resources":[null,"arn:aws:x"],"detail":null}`)
	f.Add(strings.Repeat(`{"detail":`, 200))
	f.Fuzz(func(t *testing.T, message string) {
		names, err := parseEvent([]byte(message))
		if err != nil && len(names) > 0 {
			t.Errorf("names %v and error %v", names, err)
		}
		if len(names) > 2*(maxResources+1) || slices.Contains(names, "") {
			t.Errorf("names %q", names)
		}
		// What an event names is found by whoever is configured with it.
		if len(message) > 512 || message == "" {
			return
		}
		name, _ := json.Marshal(message)
		names, err = parseEvent([]byte(`{"source":"aws.secretsmanager","detail":{"name":` + string(name) + `}}`))
		if valid := strings.ToValidUTF8(message, "\uFFFD"); err == nil && valid == message &&
			!slices.Equal(names, namesOf(message)) {
			t.Errorf("an event of %q names %q", message, names)
		}
	})
}
