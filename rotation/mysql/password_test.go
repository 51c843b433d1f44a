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

// TestKeeps holds SHA-crypt against what MySQL 9.7 keeps of "c'\\0".
func TestKeeps(t *testing.T) {
	for plugin, kept := range map[string]string{
		"caching_sha2_password": "24412430304124666B33710B2D685E4D59041C2A7407565C08077D32332E3469466A36434E772F704748484E756E49426B54756B505A617646456334643464593233444C4236",
		"sha256_password":       "2435247049375B070B6B42411F1A2F390E032B152D042F245A6859466A66304263744E6E37466151376B5959707145507954526A6B34654E3458634C4743634D745643",
		"mysql_native_password": "2a32334646363844413439344333333031444642424634353837374346354330304241323546363141",
	} {
		for password, want := range map[string]bool{`c'\0`: true, `c'\1`: false, "": false} {
			if got, err := keeps(plugin, kept, password); err != nil || got != want {
				t.Errorf("%s: %q: %v, %v", plugin, password, got, err)
			}
		}
	}
	for _, kept := range []string{"", "24", "2441243030", "244124303035240102", "2441245858582401010101010101010101010101010101010101010101"} {
		if got, err := keeps("caching_sha2_password", kept, ""); got || err != nil {
			t.Errorf("%s: %v, %v", kept, got, err)
		}
	}
	for _, kept := range []string{"x", strings.Repeat("24", maxKept+1)} {
		if _, err := keeps("sha256_password", kept, ""); err == nil {
			t.Errorf("%.20s", kept)
		}
	}
}

// TestSHA256Crypt holds the digest against that of OpenSSL (passwd -5).
func TestSHA256Crypt(t *testing.T) {
	for _, c := range []struct {
		password, salt string
		digest         string
	}{
		{"Hello world!", "saltstring", "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"we have a short salt string but not a short password", "short", "k38kpRP0CfxHLIcmymaSTFLK.iFfF4tKryDuEGKp6SC"},
	} {
		if got := sha256Crypt(c.password, c.salt, 5000); got != c.digest {
			t.Errorf("%s: %s", c.password, got)
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
