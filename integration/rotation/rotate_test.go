package rotation_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestRotate rotates from a terminal, several times over: the right user has the new
// password, and so has the secret, whose other keys stay as they were.
func TestRotate(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		for range 4 {
			before, _ := s.labelled(awsstub.Current)
			out := s.must(t, append([]string{"rotate", s.secret, "--dry-run"}, s.strategy...)...)
			if !strings.Contains(out, "nothing is in the way") {
				t.Errorf("preflight says\n%s", out)
			}
			s.rotate(t)
			if user, _ := s.labelled(awsstub.Current); (user != before) != s.alternates() {
				t.Errorf("the user is %s, and was %s", user, before)
			}
			s.works(t, awsstub.Current)
			if s.alternates() || s.name == "mysql" {
				s.works(t, awsstub.Previous)
			}
		}
		text := *s.aws.Secret(s.secret).Stage(awsstub.Current).Text
		if !strings.HasPrefix(text, `{"zebra": [1.50, "x"], "engine":"`+s.name+`"`) {
			t.Error("the document is not as it was")
		}
		s.noPassword(t, s.log())
	})
}
