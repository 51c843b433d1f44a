package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/lambdastub"
)

const functionKey = "AKIAROTATIONFUNCTION"

// lambda starts the function for the secret, as who is allowed no more than the policy that
// credproxy prints.
func (s *stand) lambda(t *testing.T, env ...string) *lambdastub.Function {
	t.Helper()
	args := []string{"policy", "--for", "rotation", s.aws.Secret(s.secret).ARN, "--kms-key", "none"}
	if s.alternates() {
		args = append(args, "--master", s.aws.Secret(masterSecret).ARN)
	}
	out, err := s.output(t, append(args, s.policy...)...)
	must(t, err)
	allow, err := awsstub.AllowPolicy([]byte(out))
	must(t, err)
	s.aws.AddIdentity(awsstub.Identity{AccessKeyID: functionKey, SecretAccessKey: "the function signs with this", Allow: allow,
		ARN: "arn:aws:sts::" + awsstub.AccountID + ":assumed-role/rotation/function"})
	all := append([]string{}, s.aws.Env()...)
	all = append(all, "AWS_ACCESS_KEY_ID="+functionKey, "AWS_SECRET_ACCESS_KEY=the function signs with this", "GORACE=atexit_sleep_ms=0",
		"TLS_CA_FILE="+s.caFile, "STRATEGY="+s.strategy[1])
	if s.alternates() {
		all = append(all, "MASTER_SECRET="+masterSecret)
	}
	f, err := lambdastub.Start(bootstrap, append(all, env...))
	must(t, err)
	t.Cleanup(func() {
		f.Close()
		logs := f.Logs()
		s.noPassword(t, logs)
		if strings.Contains(logs, "DATA RACE") {
			t.Error("the function has a data race")
		}
		if t.Failed() {
			t.Logf("log of the function:\n%s", logs)
		}
	})
	s.aws.EnableRotation(s.secret, lambdastub.FunctionARN)
	return f
}

// invoker returns what has the function make a step.
func invoker(f *lambdastub.Function) func(context.Context, awsstub.RotationEvent) error {
	return func(ctx context.Context, e awsstub.RotationEvent) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err := f.Invoke(ctx, e)
		return err
	}
}

// soakVariable is set by make soak.
const soakVariable = "CREDPROXY_SOAK"

func soak() bool { return os.Getenv(soakVariable) != "" }

// rotations is how many the tests under load make of each kind.
func rotations() int {
	if soak() {
		return 50
	}
	return 3
}

// outages are the times in which clients were not let in.
type outages struct {
	mu     sync.Mutex
	failed []time.Time
}

func (o *outages) add() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = append(o.failed, time.Now())
}

// take returns how many failures there were since the last call, and the time from the
// first to the last.
func (o *outages) take() (n int, width time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n = len(o.failed); n > 0 {
		width = slices.MaxFunc(o.failed, time.Time.Compare).Sub(slices.MinFunc(o.failed, time.Time.Compare))
	}
	o.failed = nil
	return n, width
}

// TestLambda has Secrets Manager rotate by the function, under load: nobody who comes
// through credproxy notices, nor who reads AWSCURRENT at each connect, but with the single
// users of PostgreSQL and MariaDB, who have one password at a time.
func TestLambda(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		f := s.lambda(t)
		through := s.indirect(t)
		var window outages
		direct := load(t, 8, func(ctx context.Context) error {
			user, password := s.labelled(awsstub.Current)
			err := s.login(ctx, user, password)
			if now, _ := s.labelled(awsstub.Current); err != nil && now == user {
				if _, latest := s.labelled(awsstub.Current); latest != password {
					return nil // it read a moment too early, which no order of things prevents
				}
			}
			if err != nil {
				window.add()
			}
			return err
		})
		through.more(t, 10)
		var failed int
		var longest time.Duration
		for range rotations() {
			before := s.aws.Secret(s.secret).Stage(awsstub.Current).ID
			must(t, s.aws.StartRotation(s.secret).Run(t.Context(), invoker(f)))
			if s.aws.Secret(s.secret).Stage(awsstub.Current).ID == before {
				t.Fatal("AWSCURRENT has not moved")
			}
			through.more(t, 10)
			direct.more(t, 10)
			n, width := window.take()
			failed, longest = failed+n, max(longest, width)
		}
		through.end()
		direct.end()
		through.none(t, "through credproxy")
		t.Logf("%d rotations: %d of %d direct connections failed, over %s at most", rotations(), failed, direct.visits.Load(), longest)
		if s.alternates() || s.name == "mysql" {
			direct.none(t, "that read AWSCURRENT")
		}
		s.noPassword(t, s.log())
		for _, want := range []string{`"audit":true`, `"RotationStepSeconds"`, `"Step":"finishSecret"`} {
			if !strings.Contains(f.Logs(), want) {
				t.Errorf("%s is not in the function's log", want)
			}
		}
	})
}

// TestLambdaRefuses calls the function with what Secrets Manager would not, or not yet.
func TestLambdaRefuses(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	f := s.lambda(t)
	token := s.aws.StartRotation(s.secret).Token
	unlabelled := s.aws.PutSecret(s.secret, s.engine.secret("app", firstPassword), "OTHER")
	accounts := s.accounts(t)
	step := func(step, token string) any {
		return awsstub.RotationEvent{Step: step, SecretID: s.secret, ClientRequestToken: token}
	}
	for name, tt := range map[string]struct {
		event      any
		kind, said string
	}{
		"unknown step":       {step("dropSecret", token), "BadEvent", `unknown step "dropSecret"`},
		"no token":           {step("createSecret", ""), "BadEvent", "ClientRequestToken"},
		"no secret":          {map[string]string{"Step": "createSecret"}, "BadEvent", "SecretId"},
		"nothing":            {map[string]string{"SecretId": "x"}, "BadEvent", "Action"},
		"a list":             {[]int{1}, "BadEvent", "JSON object"},
		"foreign token":      {step("createSecret", strings.Repeat("x", 32)), "RotationFailed", "has no version"},
		"without AWSPENDING": {step("setSecret", unlabelled), "RotationFailed", "is not AWSPENDING"},
		"set before create":  {step("setSecret", token), "RotationFailed", "AWSPENDING"},
		"missing secret":     {map[string]string{"Action": "check", "SecretId": "prod/none"}, "ConnectivityCheckFailed", "prod/none"},
	} {
		_, err := f.Invoke(t.Context(), tt.event)
		var failure *lambdastub.Error
		if !errors.As(err, &failure) || failure.Type != tt.kind || !strings.Contains(failure.Message, tt.said) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.aws.Edit(s.secret, func(sec *awsstub.Secret) { sec.RotationEnabled = false })
	if _, err := f.Invoke(t.Context(), step("createSecret", token)); err == nil || !strings.Contains(err.Error(), "rotation is not enabled") {
		t.Errorf("rotation disabled: %v", err)
	}
	if s.accounts(t) != accounts {
		t.Error("the accounts have changed")
	}
	s.aws.EnableRotation(s.secret, lambdastub.FunctionARN)
	for _, name := range []string{"create_secret", "set_secret", "test_secret", "finish_secret", "finishSecret", "createSecret"} {
		if _, err := f.Invoke(t.Context(), step(name, token)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.works(t, awsstub.Current)
}

// TestLambdaActions asks for a check and a preflight, and sends what EventBridge does.
func TestLambdaActions(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		table := "app.probe"
		if s.name == "postgres" {
			table = "public.probe"
			must(t, s.exec(t.Context(), "CREATE TABLE public.probe (id serial); GRANT INSERT, SELECT ON public.probe TO app; GRANT USAGE ON SEQUENCE public.probe_id_seq TO app"))
		} else {
			must(t, s.exec(t.Context(), "CREATE TABLE app.probe (id int AUTO_INCREMENT PRIMARY KEY)"))
		}
		f := s.lambda(t, "CHECK_WRITE_TABLE="+table)
		for name, event := range map[string]any{
			"check":       map[string]string{"Action": "check", "SecretId": s.secret},
			"EventBridge": map[string]any{"source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "resources": []string{s.aws.Secret(s.secret).ARN}, "detail": map[string]any{"labelUpdated": "AWSCURRENT"}},
		} {
			if payload, err := f.Invoke(t.Context(), event); err != nil || !strings.Contains(string(payload), `"ok"`) {
				t.Errorf("%s: %s, %v", name, payload, err)
			}
		}
		rows, err := s.query(t.Context(), "SELECT count(*) FROM "+table)
		if err != nil || rows != "0" {
			t.Errorf("%s rows are left by the checks, %v", rows, err)
		}
		accounts := s.accounts(t)
		payload, err := f.Invoke(t.Context(), map[string]string{"Action": "preflight", "SecretId": s.secret})
		var reply struct{ Lines []string }
		if err != nil || json.Unmarshal(payload, &reply) != nil || !strings.Contains(strings.Join(reply.Lines, "\n"), "would run: ") {
			t.Errorf("preflight: %s, %v", payload, err)
		}
		if s.accounts(t) != accounts {
			t.Error("the preflight has changed something")
		}
		must(t, s.exec(t.Context(), "DROP TABLE "+table))
		var failure *lambdastub.Error
		if _, err := f.Invoke(t.Context(), map[string]string{"Action": "check", "SecretId": s.secret}); !errors.As(err, &failure) || failure.Type != "ConnectivityCheckFailed" || !strings.Contains(failure.Message, table) {
			t.Errorf("check without the table: %v", err)
		}
		for _, want := range []string{`"ConnectivityCheckFailures":1`, `"ConnectivityCheckFailures":0`} {
			if !strings.Contains(f.Logs(), want) {
				t.Errorf("%s is not in the function's log", want)
			}
		}
	})
}
