package rotation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
)

const (
	firstPassword  = "planted-First-1"
	masterPassword = "planted-Master-1"

	// Who calls credproxy.
	operatorKey    = "AKIAOPERATOR"
	operatorSecret = "the operator signs with this"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secret is the JSON of a secret for user, with keys that nobody knows.
func (e *engine) secret(user, password string, more ...string) string {
	host, port, _ := strings.Cut(e.addr(), ":")
	return fmt.Sprintf(`{"zebra": [1.50, "x"], "engine":%q,"host":%q,"username":%q, "password":%q,"port":%s%s}`,
		e.name, host, user, password, port, strings.Join(append([]string{""}, more...), ","))
}

// stand is a server, its secrets, and the AWS they are in.
type stand struct {
	*engine
	aws      *awsstub.Server
	secret   string   // its name
	strategy []string // the flags of rotate and rollback that say it
	policy   []string // flags of credproxy policy for what the function needs besides
}

const (
	appSecret    = "prod/app"
	masterSecret = "prod/master"
)

func newStand(t *testing.T, e *engine) *stand {
	t.Helper()
	aws, err := awsstub.Start(awsstub.Options{})
	must(t, err)
	t.Cleanup(aws.Close)
	aws.AddIdentity(awsstub.Identity{AccessKeyID: operatorKey, SecretAccessKey: operatorSecret, ARN: "arn:aws:iam::" + awsstub.AccountID + ":user/operator"})
	aws.CreateSecret(appSecret, e.secret("app", firstPassword))
	aws.CreateSecret(masterSecret, e.secret("master", masterPassword))
	return &stand{engine: e, aws: aws, secret: appSecret}
}

// output runs credproxy and returns its standard output.
func (s *stand) output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).Output()
	return string(out), err
}

// run runs credproxy and returns what it says on both outputs.
func (s *stand) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := s.command(ctx, args...)
	out, err := cmd.CombinedOutput()
	s.noPassword(t, string(out))
	return string(out), err
}

// command is credproxy as an operator has it.
func (s *stand) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "CREDPROXY_TLS_CA_FILE=" + s.caFile}, s.aws.Env()...)
	cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+operatorKey, "AWS_SECRET_ACCESS_KEY="+operatorSecret)
	return cmd
}

func (s *stand) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.run(t, args...)
	if err != nil {
		t.Fatalf("credproxy %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// passwords returns those of all versions of all secrets, but for those that the test has
// given to the server itself.
func (s *stand) passwords() (all []string) {
	for _, name := range []string{s.secret, masterSecret} {
		for _, v := range s.aws.Secret(name).Versions {
			if v.Text == nil {
				continue
			}
			if _, password := fields(*v.Text); password != firstPassword && password != masterPassword {
				all = append(all, password)
			}
		}
	}
	return all
}

func (s *stand) noPassword(t *testing.T, text string) {
	t.Helper()
	for _, p := range s.passwords() {
		if p != "" && strings.Contains(text, p) {
			t.Errorf("a password is shown")
		}
	}
}

func fields(document string) (user, password string) {
	var doc struct{ Username, Password string }
	_ = json.Unmarshal([]byte(document), &doc)
	return doc.Username, doc.Password
}

// current returns user and password of the version under a label.
func (s *stand) labelled(label string) (user, password string) {
	v := s.aws.Secret(s.secret).Stage(label)
	if v == nil || v.Text == nil {
		return "", ""
	}
	return fields(*v.Text)
}

// works fails the test unless the password under a label logs in directly.
func (s *stand) works(t *testing.T, label string) {
	t.Helper()
	user, password := s.labelled(label)
	if err := s.login(t.Context(), user, password); err != nil {
		t.Errorf("%s (user %s) does not log in: %v", label, user, err)
	}
}

// rotate rotates by the stand's strategy.
func (s *stand) rotate(t *testing.T) string {
	t.Helper()
	return s.must(t, append([]string{"rotate", s.secret}, s.strategy...)...)
}
