package integration_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// awkwardPasswords are those that some client has got wrong. SCRAM runs a
// password through SASLprep (RFC 4013), and PostgreSQL takes it as it is if
// SASLprep forbids it. All but the last hold the planted one.
var awkwardPasswords = []string{
	appPassword,
	appPassword + `'"\$%{}<>&; --`,
	appPassword + " \t\r\n\a\x01",
	appPassword + "pässwörd пароль 密码",
	appPassword + strings.Repeat("0123456789abcdef", 64), // 1 KB, as long as an IAM token
	appPassword + "e\u0301",                              // decomposed: é
	appPassword + "\u2168 ﬁ ½",                           // compatibility characters: IX fi 1⁄2
	appPassword + "\u00a0\u3000",                         // spaces: two of ASCII
	appPassword + "\u00ad\u200c",                         // mapped to nothing
	appPassword + "\u200b",                               // in two tables of the RFC: a space, or nothing
	appPassword + "\u2168\x7f",                           // forbidden, so not normalized
	appPassword + "\u2168\u0627",                         // both directions of writing: forbidden
	appPassword + "\u2168😀",                              // unassigned in Unicode 3.2: forbidden
	"🄰" + appPassword,                                    // the same, and its normal form would be A
	"\u00ad",                                             // mapped to nothing at all
}

// Every method of pg_hba.conf that asks for a password, with every password that
// libpq logs in with directly; and trust, which asks for none.
func TestPostgresPasswords(t *testing.T) {
	methods := []string{"scram-sha-256", "md5", "password"}
	for _, version := range servers.PostgresVersions() {
		t.Run(fmt.Sprintf("server%d", version), func(t *testing.T) {
			o := servers.PostgresOptions{Version: version, Auth: "trust"}
			for _, method := range methods {
				o.HBA = append(o.HBA, fmt.Sprintf("hostssl all +by-%s all %[1]s", method))
			}
			pg := servers.RunPostgres(t, o)
			passwords := map[string]string{"trusted": "any"} // by user
			for _, method := range methods {
				maps.Copy(passwords, awkwardRoles(t, pg, method))
			}
			aws := startAWS(t, awsstub.Options{})
			if err := pg.Exec(t.Context(), "CREATE ROLE trusted LOGIN"); err != nil {
				t.Fatal(err)
			}
			config := "databases:\n"
			for user, password := range passwords {
				config += smDatabase(user, aws.CreateSecret(user, secretJSON(pg, user, password)), "tls: "+tlsYAML("", pg.CAFile))
			}
			p := sidecar.Run(t, sidecar.Options{Binary: binary, Config: config, Env: aws.Env(), Debug: true}, appPassword)
			for user, password := range passwords {
				t.Run(user, func(t *testing.T) {
					directly := psqlCommand(t, version, pg.URL(user, "", "postgres"))
					directly.Env = append(directly.Env, "PGPASSWORD="+password)
					directly.Stdin = strings.NewReader("SELECT current_user")
					if got := strings.TrimSpace(output(t, directly)); got != user {
						t.Errorf("directly: user %s", got)
					}
					if got := ask(t, connect(t, p.Addr(t, user), "postgres"), "SELECT current_user"); got != user {
						t.Errorf("user %s", got)
					}
				})
			}
		})
	}
}

// awkwardRoles makes a role for each password and has pg_hba.conf ask for it by
// method.
func awkwardRoles(t *testing.T, pg *servers.Postgres, method string) (passwords map[string]string) {
	t.Helper()
	encryption := "scram-sha-256"
	if method == "md5" {
		encryption = "md5"
	}
	sql := fmt.Sprintf(`CREATE ROLE "by-%s"; ALTER ROLE postgres SET password_encryption = '%s'`, method, encryption)
	if err := pg.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	passwords = map[string]string{}
	for i, password := range awkwardPasswords {
		user := fmt.Sprintf("%s-%d", method, i)
		if err := pg.CreateRole(t.Context(), user, password, fmt.Sprintf(`IN ROLE "by-%s"`, method)); err != nil {
			t.Fatal(err)
		}
		passwords[user] = password
	}
	return passwords
}
