package rotation_test

import (
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestStrictAccount rotates a user of MySQL whose account is locked by one failed login, and
// who must name its password to change it, or has a history of passwords. setSecret is repeated each time.
func TestStrictAccount(t *testing.T) {
	s := newStand(t, kinds["mysql"](t))
	s.strategy = []string{"--strategy", "single"}
	must(t, s.exec(t.Context(), "ALTER USER app FAILED_LOGIN_ATTEMPTS 1 PASSWORD_LOCK_TIME 1"))
	f := s.lambda(t)
	for _, also := range []string{"PASSWORD REQUIRE CURRENT", "PASSWORD HISTORY 5", "PASSWORD REQUIRE CURRENT OPTIONAL"} {
		must(t, s.exec(t.Context(), "ALTER USER app "+also))
		r := s.aws.StartRotation(s.secret)
		for _, step := range []string{"createSecret", "setSecret", "setSecret", "testSecret", "finishSecret"} {
			must(t, invoker(f)(t.Context(), r.Event(step)))
		}
		s.settled(t, r.Token)
	}
	if n := s.refusals(); n != 0 {
		t.Errorf("%d logins were refused", n)
	}
	s.works(t, awsstub.Previous)
}
