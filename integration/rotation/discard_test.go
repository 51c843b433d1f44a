package rotation_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestDiscardLeavesCurrent has checks discard the second password of a user where
// AWSCURRENT's is not the first: after a rollback, and after a rotation that was given up
// when the database had its password already. AWSCURRENT logs in all the same, the other
// password no longer.
func TestDiscardLeavesCurrent(t *testing.T) {
	for _, kind := range []string{"mysql", "mariadb"} {
		for name, goBack := range map[string]func(t *testing.T, s *stand) (user, password string){
			"rollback": func(t *testing.T, s *stand) (string, string) {
				s.aws.Edit(s.secret, func(sec *awsstub.Secret) { sec.RotationEnabled = false })
				s.rotate(t)
				user, password := s.labelled(awsstub.Current)
				s.must(t, "rollback", s.secret, "--yes", "--strategy", "single")
				return user, password
			},
			"given up": func(t *testing.T, s *stand) (string, string) {
				f := s.lambda(t)
				r := s.aws.StartRotation(s.secret)
				for _, step := range r.Steps[:2] {
					must(t, invoker(f)(t.Context(), r.Event(step)))
				}
				user, password := s.labelled(awsstub.Pending)
				s.aws.Edit(s.secret, func(sec *awsstub.Secret) { sec.Stage(awsstub.Pending).Stages = nil })
				return user, password
			},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newStand(t, kinds[kind](t))
				if s.name == "mariadb" { // without it there is one password
					must(t, s.exec(t.Context(), "GRANT CREATE USER ON *.* TO app"))
				}
				s.strategy = []string{"--strategy", "single"}
				f := s.lambda(t, "DISCARD_AFTER=1ns")
				user, gone := goBack(t, s)
				s.works(t, awsstub.Current)
				for range 2 {
					_, err := f.Invoke(t.Context(), map[string]string{"Action": "check", "SecretId": s.secret})
					must(t, err)
					s.works(t, awsstub.Current)
				}
				if err := s.login(t.Context(), user, gone); err == nil {
					t.Error("the other password logs in still")
				}
				if strings.Contains(s.log(), gone) {
					t.Error("a password is in the server's log")
				}
			})
		}
	}
}
