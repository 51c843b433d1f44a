package env_test

import (
	"os"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

var _ secrets.Source = (*env.Source)(nil)

func TestFetch(t *testing.T) {
	t.Setenv("TEST_DB_USER", "app")
	t.Setenv("TEST_DB_PASSWORD", "Pl4nted-Passw0rd")
	var vars env.Variables
	source := vars.Source("TEST_DB_USER", "TEST_DB_PASSWORD")
	c, err := source.Fetch(t.Context(), secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != "app" || secretstest.Reveal(c) != "Pl4nted-Passw0rd" || !c.Expires.IsZero() {
		t.Errorf("got %v, password %q", c, secretstest.Reveal(c))
	}
	same := secrets.NewCredential("app", "Pl4nted-Passw0rd")
	if same.UseLocalVersion(); c.VersionID != same.VersionID {
		t.Errorf("version %q", c.VersionID)
	}
	// Nobody inherits it, but another database may have the same.
	if value, set := os.LookupEnv("TEST_DB_PASSWORD"); set {
		t.Errorf("still in the environment: %q", value)
	}
	again, err := vars.Source("TEST_DB_USER", "TEST_DB_PASSWORD").Fetch(t.Context(), secrets.Current)
	if err != nil || secretstest.Reveal(again) != secretstest.Reveal(c) || again.VersionID != c.VersionID {
		t.Errorf("the second time %v, %v", again, err)
	}
	if source.Kind() != "env" {
		t.Errorf("kind %q", source.Kind())
	}
}

func TestFetchErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		username, password string
		stage              secrets.Stage
		reason             secrets.Reason
		text               string
	}{
		"unset":    {"TEST_DB_UNSET", "TEST_DB_USER", secrets.Current, secrets.NotFound, "TEST_DB_UNSET"},
		"empty":    {"TEST_DB_USER", "TEST_DB_EMPTY", secrets.Current, secrets.NotFound, "TEST_DB_EMPTY"},
		"pending":  {"TEST_DB_USER", "TEST_DB_USER", secrets.Pending, secrets.NoVersion, "AWSPENDING"},
		"previous": {"TEST_DB_USER", "TEST_DB_USER", secrets.Previous, secrets.NoVersion, "AWSPREVIOUS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TEST_DB_USER", "app")
			t.Setenv("TEST_DB_EMPTY", "")
			_, err := new(env.Variables).Source(tc.username, tc.password).Fetch(t.Context(), tc.stage)
			if err == nil || secrets.ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %s: %s", err, tc.reason, tc.text)
			}
		})
	}
}
