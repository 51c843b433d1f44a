package rotation_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// printedPolicy is an IAM policy that credproxy policy has printed, and what was asked of it.
type printedPolicy struct {
	Statement []struct{ Action, Resource []string }

	mu   sync.Mutex
	used map[string]bool // actions
}

// policyOf is what credproxy policy prints for who rotates the stand's secret.
func policyOf(t *testing.T, s *stand, flags ...string) *printedPolicy {
	t.Helper()
	args := append([]string{"policy", "--kms-key", "none"}, flags...)
	if s.alternates() {
		args = append(args, "--master", s.aws.Secret(masterSecret).ARN)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, append(args, s.aws.Secret(s.secret).ARN)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	p := &printedPolicy{used: map[string]bool{}}
	if err == nil {
		err = json.Unmarshal(out, p)
	}
	if err != nil {
		t.Fatalf("credproxy %q: %v\n%s", args, err, &stderr)
	}
	return p
}

// allows is IAM's view of the policy, in which all effects are Allow.
func (p *printedPolicy) allows(action, resource string) bool {
	for _, s := range p.Statement {
		if slices.Contains(s.Action, action) && slices.ContainsFunc(s.Resource, func(pattern string) bool { return matches(pattern, resource) }) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.used[action] = true
			return true
		}
	}
	return false
}

// matches knows the wildcards of IAM.
func matches(pattern, resource string) bool {
	return regexp.MustCompile("^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$").MatchString(resource)
}

// restrict has AWS deny who calls credproxy all that the policy does not allow.
func (s *stand) restrict(p *printedPolicy) {
	s.aws.AddIdentity(awsstub.Identity{AccessKeyID: operatorKey, SecretAccessKey: operatorSecret, Allow: p.allows})
}

// TestLeastPolicy: with the policy that is printed for it credproxy rotates and goes back,
// and the policy allows nothing that it does not use.
func TestLeastPolicy(t *testing.T) {
	for _, strategy := range []string{"single", "alternating"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds["postgres 18"](t))
			if s.strategy = []string{"--strategy", strategy}; s.alternates() {
				s.strategy = append(s.strategy, "--master", masterSecret)
			}
			p := policyOf(t, s, "--for", "rotate")
			s.restrict(p)
			s.must(t, append([]string{"rotate", s.secret, "--dry-run"}, s.strategy...)...)
			s.rotate(t)
			s.must(t, append([]string{"rollback", s.secret, "--yes"}, s.strategy...)...)
			s.rotate(t)
			s.works(t, awsstub.Current)
			allowed := map[string]bool{}
			for _, statement := range p.Statement {
				for _, action := range statement.Action {
					allowed[action] = true
				}
			}
			delete(allowed, "secretsmanager:RotateSecret") // of secrets that have a function
			if got, want := slices.Sorted(maps.Keys(p.used)), slices.Sorted(maps.Keys(allowed)); !slices.Equal(got, want) {
				t.Errorf("used were %v of %v", got, want)
			}
		})
	}
}
