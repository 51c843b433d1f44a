package rotation_test

import (
	"bytes"
	"context"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/lambdastub"
	"github.com/credproxy/credproxy/integration/sqltap"
)

// killer ends a process at one point of its course: before or after a call to AWS, a login
// or a statement.
type killer struct {
	kill func()

	mu      sync.Mutex
	at      int // the point; 0: none
	passed  int
	reached string // its name, once it was
}

// arm has the killer wait for a point.
func (k *killer) arm(at int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.passed, k.reached = at, 0, ""
}

// disarm returns the name of the point if it was reached.
func (k *killer) disarm() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = 0
	return k.reached
}

// point is told of each one, and reports whether it is the one.
func (k *killer) point(name string) (cut bool) {
	k.mu.Lock()
	k.passed++
	hit := k.at != 0 && k.passed == k.at
	if hit {
		k.reached = name
	}
	k.mu.Unlock()
	if hit {
		k.kill()
	}
	return hit
}

// watch has the killer told of what who does, whose access key it is: at AWS, and at the
// database, at which the secrets' users log in through a tap from then on.
func (k *killer) watch(t *testing.T, s *stand, accessKey string) {
	t.Helper()
	kind := s.name
	if kind == "mariadb" {
		kind = "mysql"
	}
	tap, err := sqltap.Start(sqltap.Options{Engine: kind, Server: s.addr(), Certificate: s.certificate, CA: s.ca,
		OnPoint: func(p sqltap.Point) bool { return k.point(p.String()) }})
	must(t, err)
	t.Cleanup(tap.Close)
	_, port, _ := net.SplitHostPort(s.addr())
	for _, secret := range []string{s.secret, masterSecret} {
		s.edit(t, secret, `"port":`+port, `"port":`+strconv.Itoa(tap.Port()))
	}
	s.aws.OnPoint(func(p awsstub.Point) bool { return p.AccessKeyID == accessKey && k.point(p.String()) })
}

// refusals is how many logins the server has refused so far.
func (s *stand) refusals() int {
	if s.name == "postgres" {
		return strings.Count(s.log(), "password authentication failed for user")
	}
	return len(deniedLogin.FindAllString(s.log(), -1))
}

// deniedLogin is a line of the general log. The error log says the same once more.
var deniedLogin = regexp.MustCompile(`Connect\s+Access denied for user`)

// TestKilled kills the function at every point of a rotation, one after another. Called
// again with the same token it comes to the end, and so does the next rotation; what is
// AWSCURRENT logs in, and no more than one more login has failed.
func TestKilled(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		f := s.lambda(t)
		k := &killer{kill: f.Kill}
		k.watch(t, s, functionKey)
		rotate := func() (refused int) {
			t.Helper()
			before := s.refusals()
			r := s.aws.StartRotation(s.secret)
			must(t, r.Run(t.Context(), invoker(f)))
			s.settled(t, r.Token)
			return s.refusals() - before
		}
		usual := rotate()
		for point := 1; ; point++ {
			before := s.refusals()
			k.arm(point)
			r := s.aws.StartRotation(s.secret)
			err := once(t.Context(), r, f)
			at := k.disarm()
			if at == "" { // it has come to its end
				must(t, err)
				t.Logf("killed at %d points", point-1)
				break
			}
			if err == nil && !strings.HasPrefix(at, "after ") {
				t.Errorf("killed %s: no error", at)
			}
			must(t, r.Run(t.Context(), invoker(f)))
			s.settled(t, r.Token)
			if refused := s.refusals() - before; refused > usual+1 {
				t.Errorf("killed %s: %d logins were refused, %d is usual", at, refused, usual)
			}
			rotate()
			if t.Failed() {
				t.Fatalf("killed %s", at)
			}
		}
		s.noPassword(t, s.log())
	})
}

// once runs the steps without trying again.
func once(ctx context.Context, r awsstub.Rotation, f *lambdastub.Function) error {
	for _, step := range r.Steps {
		if err := invoker(f)(ctx, r.Event(step)); err != nil {
			return err
		}
	}
	return nil
}

// settled holds that a version is AWSCURRENT and logs in, and that the one before does
// where two passwords, or two users, are to work.
func (s *stand) settled(t *testing.T, version string) {
	t.Helper()
	if s.aws.Secret(s.secret).Stage(awsstub.Current).ID != version {
		t.Errorf("version %s is not AWSCURRENT", version)
	}
	s.works(t, awsstub.Current)
	if s.alternates() || s.name == "mysql" {
		s.works(t, awsstub.Previous)
	}
}

// TestKilledCommands kills credproxy rollback at every point, under load, and in a soak
// credproxy rotate, whose steps are those of the function. Called again they go on: to the
// version that they were going to, and no client of credproxy notices.
func TestKilledCommands(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		k := &killer{}
		k.watch(t, s, operatorKey)
		addr := s.sidecar(t)
		through := load(t, 2, func(ctx context.Context) error { return s.through(ctx, addr) })
		through.more(t, 10)
		s.rotate(t)
		commands := []string{"rollback"}
		if soak() {
			commands = append(commands, "rotate")
		}
		for _, command := range commands {
			args := append([]string{command, s.secret}, s.strategy...)
			if command == "rollback" {
				args = append(args, "--yes")
			}
			for point := 1; ; point++ {
				was := s.aws.Secret(s.secret)
				before, previous := was.Stage(awsstub.Current).ID, was.Stage(awsstub.Previous)
				at := s.killAt(t, k, point, args...)
				if at == "" {
					t.Logf("%s: killed at %d points", command, point-1)
					break
				}
				s.must(t, args...)
				now := s.aws.Secret(s.secret).Stage(awsstub.Current).ID
				if command == "rotate" && now == before || command == "rollback" && now != previous.ID && !ended(at, s, before) {
					t.Errorf("killed %s: AWSCURRENT is version %s, and was %s", at, now, before)
				}
				s.works(t, awsstub.Current)
				if pending := s.aws.Secret(s.secret).Stage(awsstub.Pending); pending != nil && pending.ID != now {
					t.Errorf("killed %s: AWSPENDING is left on another version", at)
				}
				if command == "rollback" { // from two versions, neither of which is the first
					s.rotate(t)
				}
				if t.Failed() {
					t.Fatalf("%s was killed %s", command, at)
				}
			}
		}
		through.end()
		through.none(t, "through credproxy")
	})
}

// ended reports whether a rollback was killed when all was done but to say so: called once
// more it goes back from where it went.
func ended(at string, s *stand, before string) bool {
	return at == "after UpdateSecretVersionStage" && s.aws.Secret(s.secret).Stage(awsstub.Current).ID == before
}

// killAt runs a command and kills it at a point, whose name it returns; "" if the command
// came to its end.
func (s *stand) killAt(t *testing.T, k *killer, point int, args ...string) string {
	t.Helper()
	cmd := s.command(t.Context(), args...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	started := make(chan struct{})
	k.kill = func() {
		<-started
		_ = cmd.Process.Kill()
	}
	k.arm(point)
	must(t, cmd.Start())
	close(started)
	err, out := cmd.Wait(), text.String()
	s.noPassword(t, out)
	at := k.disarm()
	if at == "" && err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return at
}
