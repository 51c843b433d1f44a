package rotation_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// goingBack is the label of a rollback that is under way.
const goingBack = "CREDPROXY_ROLLBACK"

func (s *stand) id(label string) string {
	if v := s.aws.Secret(s.secret).Stage(label); v != nil {
		return v.ID
	}
	return ""
}

// label puts a label on a version, as what was broken off leaves it.
func (s *stand) label(version, label string) {
	s.aws.Edit(s.secret, func(sec *awsstub.Secret) {
		v := sec.Version(version)
		v.Stages = append(v.Stages, label)
	})
}

// TestRollbackRepeated repeats a rollback that was done: it does not go forward to the
// version that was left.
func TestRollbackRepeated(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	first := s.id(awsstub.Current)
	s.rotate(t)
	left := s.id(awsstub.Current)
	for range 3 {
		out := s.must(t, "rollback", s.secret, "--yes")
		if s.id(awsstub.Current) != first || s.id(awsstub.Previous) != left || s.id(goingBack) != "" {
			t.Errorf("AWSCURRENT is not where it was before the rotation:\n%s", out)
		}
		s.works(t, awsstub.Current)
	}
	s.rotate(t)
	before := s.id(awsstub.Previous)
	s.must(t, "rollback", s.secret, "--yes")
	if before != first || s.id(awsstub.Current) != before {
		t.Error("the rollback of the next rotation does not lead to what was before it")
	}
}

// TestRollbackGivenUp has a rollback be broken off and rotations follow: the next rollback
// goes back by one rotation, and not to where the old one was going.
func TestRollbackGivenUp(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	s.label(s.id(awsstub.Current), goingBack)
	s.rotate(t)
	want := s.id(awsstub.Current)
	s.rotate(t)
	out := s.must(t, "rollback", s.secret, "--yes")
	if s.id(awsstub.Current) != want || s.id(goingBack) != "" {
		t.Errorf("AWSCURRENT is not AWSPREVIOUS:\n%s", out)
	}
	s.works(t, awsstub.Current)
}

// TestUnreadableVersions has AWSPREVIOUS and AWSPENDING be no JSON: a rotation does without
// the one, and a rollback takes the other away.
func TestUnreadableVersions(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	good := s.engine.secret("app", firstPassword)
	s.aws.PutSecret(s.secret, "hunter2")
	s.aws.PutSecret(s.secret, good)
	s.rotate(t)
	s.aws.PutSecret(s.secret, "hunter2", awsstub.Pending)
	current := s.id(awsstub.Current)
	out, err := s.run(t, "rotate", s.secret)
	if err == nil || !strings.Contains(out, "not valid JSON") {
		t.Errorf("%v\n%s", err, out)
	}
	s.must(t, "rollback", s.secret, "--yes")
	if s.id(awsstub.Current) != current || s.id(awsstub.Pending) != "" {
		t.Error("AWSPENDING is still there, or AWSCURRENT has moved")
	}
	s.rotate(t)
	s.works(t, awsstub.Current)
}

// TestForeignPending has AWSPENDING be for another user or server: its password goes nowhere,
// and the error says what to do, which helps.
func TestForeignPending(t *testing.T) {
	for name, tt := range map[string]struct{ old, new, said string }{
		"user": {`"app"`, `"somebody"`, "is for another user"},
		"host": {`"host":"`, `"host":"elsewhere.invalid", "was":"`, "AWSCURRENT for"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, kinds["postgres 18"](t))
			s.aws.PutSecret(s.secret, strings.Replace(s.engine.secret("app", "planted-other"), tt.old, tt.new, 1), awsstub.Pending)
			for _, dry := range []string{"--dry-run=true", "--dry-run=false"} {
				out, err := s.run(t, "rotate", s.secret, dry)
				if err == nil || !strings.Contains(out, tt.said) || !strings.Contains(out, "credproxy rollback") {
					t.Errorf("%s: %v\n%s", dry, err, out)
				}
			}
			s.must(t, "rollback", s.secret, "--yes")
			if n := s.refusals(); n != 0 {
				t.Errorf("%d logins were refused", n)
			}
			s.must(t, "rotate", s.secret)
			s.works(t, awsstub.Current)
		})
	}
}

// TestEditedSince has somebody edit the secret while a rotation is broken off: going on with it
// would undo that.
func TestEditedSince(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	s.aws.PutSecret(s.secret, s.engine.secret("app", "planted-pending"), awsstub.Pending)
	s.aws.PutSecret(s.secret, s.engine.secret("app", firstPassword, `"added": true`))
	out, err := s.run(t, "rotate", s.secret)
	if err == nil || !strings.Contains(out, "AWSCURRENT has other keys") {
		t.Errorf("%v\n%s", err, out)
	}
	s.must(t, "rollback", s.secret, "--yes")
	s.rotate(t)
	if text := *s.aws.Secret(s.secret).Stage(awsstub.Current).Text; !strings.Contains(text, `"added": true`) {
		t.Error("the edit is lost")
	}
}

// TestOnePasswordTwice has two versions with one wrong password: it is offered once.
func TestOnePasswordTwice(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	wrong := s.engine.secret("app", "planted-wrong")
	s.aws.PutSecret(s.secret, wrong)
	s.aws.PutSecret(s.secret, wrong+" ")
	for _, args := range [][]string{{"rotate", s.secret, "--dry-run"}, {"rollback", s.secret, "--yes"}} {
		before := s.refusals()
		if out, err := s.run(t, args...); err == nil {
			t.Errorf("no error:\n%s", out)
		}
		if n := s.refusals() - before; n != 1 {
			t.Errorf("%s: %d logins were refused", args[0], n)
		}
	}
}

// TestRollbackInterrupted interrupts the question: nothing is changed.
func TestRollbackInterrupted(t *testing.T) {
	s := newStand(t, kinds["postgres 18"](t))
	s.strategy = []string{"--strategy", "single"}
	s.rotate(t)
	current := s.id(awsstub.Current)
	cmd := exec.CommandContext(t.Context(), binary, "rollback", s.secret)
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "CREDPROXY_TLS_CA_FILE=" + s.caFile}, s.aws.Env()...)
	in, err := cmd.StdinPipe()
	must(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var text []byte
	for buffer := make([]byte, 256); !strings.Contains(string(text), "[y/N]"); {
		n, err := out.Read(buffer)
		must(t, err)
		text = append(text, buffer[:n]...)
	}
	must(t, cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || s.id(awsstub.Current) != current || s.id(goingBack) != "" {
		t.Errorf("interrupted at the question: %v", err)
	}
}
