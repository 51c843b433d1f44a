package rotation_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// TestRollback goes back under load, and forth again: no client of credproxy notices, the
// labels are where they were, and the next rotation is not blocked.
func TestRollback(t *testing.T) {
	eachKind(t, func(t *testing.T, s *stand) {
		through := s.indirect(t)
		through.more(t, 20)
		for range 2 {
			want := s.aws.Secret(s.secret).Stage(awsstub.Current).ID
			s.rotate(t)
			from := s.aws.Secret(s.secret).Stage(awsstub.Current).ID
			through.more(t, 20)
			out, err := s.run(t, append([]string{"rollback", s.secret}, s.strategy...)...)
			if err == nil || !strings.Contains(out, "not confirmed; nothing was changed") {
				t.Errorf("without --yes: %v\n%s", err, out)
			}
			out = s.must(t, append([]string{"rollback", s.secret, "--yes"}, s.strategy...)...)
			through.more(t, 20)
			now := s.aws.Secret(s.secret)
			if now.Stage(awsstub.Current).ID != want || now.Stage(awsstub.Previous).ID != from {
				t.Errorf("AWSCURRENT is not what it was before the rotation\n%s", out)
			}
			if p := now.Stage(awsstub.Pending); p != nil && p.ID != want {
				t.Error("AWSPENDING blocks the next rotation")
			}
			if now.Stage("CREDPROXY_ROLLBACK") != nil {
				t.Error("the rollback's own label is left")
			}
			s.works(t, awsstub.Current)
		}
		through.end()
		through.none(t, "through credproxy")
	})
}
