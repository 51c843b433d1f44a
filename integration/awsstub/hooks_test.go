package awsstub_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func put(t *testing.T, c *sm.Client, value string) error {
	_, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: aws.String("a"), SecretString: &value})
	return err
}

func TestFaultAfterTheOperation(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}})
	c := client(t, s)
	for _, kind := range []awsstub.FaultKind{awsstub.Drop, awsstub.InternalError} {
		s.Inject("PutSecretValue", awsstub.Fault{Kind: kind, Times: 1, After: true})
		value := "v" + strings.Repeat("+", int(kind))
		if err := put(t, c, value); err == nil {
			t.Errorf("kind %d: no error", kind)
		}
		if got := *s.Secret("a").Stage(awsstub.Current).Text; got != value {
			t.Errorf("kind %d: the value is %q, so nothing was done", kind, got)
		}
		s.Inject("PutSecretValue", awsstub.Fault{Kind: kind, Times: 1})
		if err := put(t, c, "not"); err == nil || *s.Secret("a").Stage(awsstub.Current).Text != value {
			t.Errorf("kind %d before: error %v", kind, err)
		}
	}
	if err := put(t, c, "v9"); err != nil {
		t.Error(err)
	}
}

// A call can be cut at each of its points, and what is cut before was not done.
func TestPoints(t *testing.T) {
	s := start(t, awsstub.Options{Secrets: map[string]string{"a": "v1"}, Identities: []awsstub.Identity{testKey}})
	c := client(t, s)
	var mu sync.Mutex
	var seen []string
	at := -1
	s.OnPoint(func(p awsstub.Point) bool {
		if p.AccessKeyID != testKey.AccessKeyID || p.SecretID != "a" {
			t.Errorf("point %+v", p)
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p.String())
		return len(seen)-1 == at
	})
	if _, err := get(t.Context(), c, "a"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, c, "v2"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if got := strings.Join(seen, ", "); got != "before GetSecretValue, after GetSecretValue, before PutSecretValue, after PutSecretValue" {
		t.Errorf("points %s", got)
	}
	for i, want := range []string{"v2", "v-after"} {
		seen, at = nil, i
		mu.Unlock()
		if err := put(t, c, "v-after"); err == nil {
			t.Errorf("cut at %d: no error", i)
		}
		mu.Lock()
		if got := *s.Secret("a").Stage(awsstub.Current).Text; got != want || len(seen) != i+1 {
			t.Errorf("cut at %d: value %q, points %v", i, got, seen)
		}
	}
	mu.Unlock()
	s.OnPoint(nil)
	if err := put(t, c, "v3"); err != nil {
		t.Error(err)
	}
}
