package awsstub

import (
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzVerifyRDSToken(f *testing.F) {
	s := newServer(Options{})
	f.Add("db.example:5432?Action=connect&DBUser=app&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260102%2Feu-west-1%2Frds-db%2Faws4_request" +
		"&X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature=00")
	f.Fuzz(func(t *testing.T, token string) {
		if s.VerifyRDSToken(token, "db.example", 5432, "app", time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)) == nil {
			t.Errorf("token %q accepted without the key", token)
		}
	})
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20260102/eu-west-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err == nil && (a.scope.key == "" || a.scope.date == "" || a.scope.region == "" || a.scope.service == "" || a.signedHeaders == "" || a.signature == "") {
			t.Errorf("%q read as %+v", header, a)
		}
	})
}

// FuzzOperations gives the operations bodies they have not agreed to: they may refuse them, not break.
func FuzzOperations(f *testing.F) {
	names := slices.Sorted(maps.Keys(operations()))
	add := func(op, body string) { f.Add(uint8(slices.Index(names, op)), body) }
	add("GetSecretValue", `{"SecretId":"a","VersionStage":"AWSPENDING"}`)
	add("UpdateSecretVersionStage", `{"SecretId":"a","VersionStage":"AWSCURRENT","MoveToVersionId":"x","RemoveFromVersionId":"y"}`)
	add("RotateSecret", `{"SecretId":"a","RotationLambdaARN":"f","RotationRules":{"ScheduleExpression":"rate(1 day)"}}`)
	add("AssumeRole", "RoleArn="+url.QueryEscape(TaskRole)+"&RoleSessionName=ab&DurationSeconds=900")
	queue := `{"QueueUrl":"` + newServer(Options{}).CreateQueue("q")
	add("ReceiveMessage", queue+`","MaxNumberOfMessages":10,"WaitTimeSeconds":20,"VisibilityTimeout":30}`)
	add("DeleteMessageBatch", queue+`","Entries":[{"Id":"0","ReceiptHandle":"AQEB"},{"Id":"1","ReceiptHandle":"x"}]}`)
	f.Fuzz(func(t *testing.T, index uint8, body string) {
		s := newServer(Options{})
		s.CreateSecret("a", "value")
		s.CreateQueue("q")
		s.Send("q", "a message, so that no call waits for one")
		name := names[int(index)%len(names)]
		op := s.operations[name]
		x := &exchange{r: httptest.NewRequest("POST", "/", nil), body: []byte(body), operation: op, call: &Call{Operation: name}, caller: s.principals.first()}
		x.form, _ = url.ParseQuery(body)
		result, err := op.run(s, x)
		w := httptest.NewRecorder()
		s.reply(w, x, op.protocol, result, err) // panics on an error that is not AWS's, and on an answer it cannot encode
		if sec := s.secrets["a"]; sec != nil && sec.Stage(Current) == nil {
			t.Errorf("%s %s took AWSCURRENT away", name, body)
		}
		if w.Code >= 500 || strings.Contains(w.Body.String(), "InternalServiceError") {
			t.Errorf("%s %s: %d %s", name, body, w.Code, w.Body)
		}
	})
}
