package rotation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
)

// TestRotatePostgres rotates from a terminal, both ways.
func TestRotatePostgres(t *testing.T) {
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, postgres(t, servers.PostgresOptions{Version: version, Settings: map[string]string{"log_statement": "all"}}))
			for range 3 {
				before, _ := s.labelled(awsstub.Current)
				t.Log(s.must(t, "rotate", s.secret, "--dry-run"))
				t.Log(s.must(t, "rotate", s.secret))
				if user, _ := s.labelled(awsstub.Current); user != before {
					t.Errorf("the user is %s, and was %s", user, before)
				}
				s.works(t, awsstub.Current)
			}
			for range 4 {
				before, _ := s.labelled(awsstub.Current)
				t.Log(s.must(t, "rotate", s.secret, "--master", masterSecret, "--dry-run"))
				t.Log(s.must(t, "rotate", s.secret, "--master", masterSecret))
				if user, _ := s.labelled(awsstub.Current); user == before {
					t.Errorf("the user is %s, as before", user)
				}
				s.works(t, awsstub.Current)
				s.works(t, awsstub.Previous)
			}
			text := *s.aws.Secret(s.secret).Stage(awsstub.Current).Text
			if !strings.HasPrefix(text, `{"zebra": [1.50, "x"], "engine":"postgres"`) {
				t.Error("the document is not as it was")
			}
			s.noPassword(t, s.log())
		})
	}
}
