package mysql

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var verified = secrets.Link{Protection: secrets.Verified}

// TestHash holds the hashes against those that MariaDB 10.11 makes with PASSWORD().
func TestHash(t *testing.T) {
	for plugin, want := range map[string]string{
		"mysql_native_password": "*89063080929868A5DFEC18596EC951918DC26DB5",
		"ed25519":               "fjFCkIxN0vBduZfJd9sKUVy+MJH5swPJ2XE++OC2J+s",
	} {
		s := &Session{link: verified}
		if got, err := s.hash(secrets.NewCredential("u", "p2"), plugin); err != nil || got != want {
			t.Errorf("%s: %s, %v", plugin, got, err)
		}
		s.link.Protection = secrets.Encrypted
		_, err := s.hash(secrets.NewCredential("u", "p2"), plugin)
		if _, ok := errors.AsType[*account.Obstacle](err); !ok {
			t.Errorf("over a link that is not verified: %v", err)
		}
		if _, err := s.clear(secrets.NewCredential("u", "p2")); err == nil {
			t.Error("in clear text over a link that is not verified")
		}
	}
}

func TestSlots(t *testing.T) {
	native := slot{"mysql_native_password", "*A"}
	for text, want := range map[string][]slot{
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*A'":                                                     {native},
		"CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*A' REQUIRE SUBJECT 'a'b' ACCOUNT LOCK":                  {native},
		"CREATE USER `a``b`@`10.%` IDENTIFIED VIA ed25519 USING 'B'":                                          {{"ed25519", "B"}},
		"CREATE USER `a`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*A' OR pam USING 'x'": {{"unix_socket", ""}, native, {"pam", "x"}},
		"CREATE USER `a`@`%`": {{"mysql_native_password", ""}},
	} {
		if got, err := parseSlots(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "CREATE USER", "CREATE USER `a", "CREATE USER `a`@`%` IDENTIFIED VIA ed25519 USING", "CREATE USER `a`@`%` IDENTIFIED BY PASSWORD *A"} {
		if got, err := parseSlots(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestRequireCurrent(t *testing.T) {
	const begin = "CREATE USER `a`@`%` IDENTIFIED WITH 'caching_sha2_password' AS <secret> REQUIRE NONE PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK PASSWORD HISTORY DEFAULT PASSWORD REUSE INTERVAL DEFAULT"
	for end, want := range map[string]string{
		" PASSWORD REQUIRE CURRENT DEFAULT":                               "DEFAULT",
		" PASSWORD REQUIRE CURRENT":                                       "",
		" PASSWORD REQUIRE CURRENT OPTIONAL FAILED_LOGIN_ATTEMPTS 2":      "OPTIONAL",
		" ATTRIBUTE '{\"a\": \"PASSWORD REQUIRE CURRENT OPTIONAL\"}'":     "DEFAULT",
		" PASSWORD REQUIRE CURRENT ATTRIBUTE '{\"comment\": \"it\\'s\"}'": "",
		"": "DEFAULT",
	} {
		if got := requireCurrent(begin + end); got != want {
			t.Errorf("%s: %q", end, got)
		}
	}
}

func shown(t *testing.T, statements []account.Statement, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, s := range statements {
		if strings.Contains(s.Shown(), "planted") {
			t.Errorf("a password is in %s", s.Shown())
		}
		all = append(all, s.Shown())
	}
	return strings.Join(all, "; ")
}

func TestIdentifyMariaDB(t *testing.T) {
	current := secrets.NewCredential("u", "planted-current")
	for _, c := range []struct {
		slots  []slot
		retain bool
		sql    string
	}{
		{[]slot{{"ed25519", "old"}}, false, "ed25519 USING '<redacted>'"},
		{[]slot{{"ed25519", "old"}, {"ed25519", "older"}}, false, "ed25519 USING '<redacted>'"},
		{[]slot{{"ed25519", "old"}, {"ed25519", "older"}}, true, "ed25519 USING '<redacted>' OR ed25519 USING '<redacted>'"},
		{[]slot{{"unix_socket", ""}, {"ed25519", "old"}, {"mysql_native_password", "old"}, {"pam", "x"}}, true,
			"unix_socket OR ed25519 USING '<redacted>' OR mysql_native_password USING '<redacted>' OR pam USING '<redacted>' OR ed25519 USING '<redacted>' OR mysql_native_password USING '<redacted>'"},
		{[]slot{{"unix_socket", ""}}, true, "logs in by the plugin unix_socket"},
		{[]slot{{"mysql_native_password", ""}, {"parsec", "x"}}, true, "logs in by the plugin parsec"},
	} {
		p := &planner{Session: &Session{link: verified, server: server{mariadb: true}}, current: current,
			change: account.Change{New: secrets.NewCredential("u", "planted-new"), Retain: c.retain}}
		statements, err := p.setMariaDB(user{"u", "%"}, c.slots)
		if got := shown(t, statements, err); !strings.Contains(got, c.sql) || err == nil && got != "ALTER USER 'u'@'%' IDENTIFIED VIA "+c.sql {
			t.Errorf("%v: %s", c.slots, got)
		}
	}
}
