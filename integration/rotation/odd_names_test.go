package rotation_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/awsstub"
)

// oddName has what one of the servers takes for something else, if it is not quoted well.
const oddName = "we\"ird'\\ü`$u@%;--"

// TestOddNames rotates, by every way, a user with an odd name, and rights on things with odd
// names.
func TestOddNames(t *testing.T) {
	for _, kind := range []string{"postgres 15", "postgres 18", "mysql", "mariadb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, kinds[kind](t))
			encoded, err := json.Marshal(oddName)
			must(t, err)
			document := strings.Replace(s.engine.secret("app", firstPassword), `"app"`, string(encoded), 1)
			var statements []string
			if s.name == "postgres" {
				document = strings.Replace(document, "{", `{"dbname":`+string(encoded)+",", 1)
				quoted := `"` + strings.ReplaceAll(oddName, `"`, `""`) + `"`
				statements = []string{"CREATE DATABASE USER",
					"CREATE ROLE USER LOGIN PASSWORD '" + firstPassword + `'; CREATE ROLE "r'""x\"; GRANT "r'""x\" TO USER; GRANT "r'""x\" TO master WITH ADMIN OPTION`,
					`ALTER ROLE USER IN DATABASE USER SET search_path = 'a"b', '$user', 'c''d'; ALTER ROLE USER SET my.x = 'a''b\c'; GRANT SET ON PARAMETER my.x TO master`}
				if kind == "postgres 18" {
					statements = append(statements, "GRANT USER TO master WITH ADMIN OPTION")
				}
				for i := range statements {
					statements[i] = strings.ReplaceAll(statements[i], "USER", quoted)
				}
			} else {
				const database, table, column = "`d'b\"\\``ü_%`", "`t'\"\\```", "`c'\"\\```"
				quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(oddName) + "'@'127.0.0.%'"
				statements = []string{"CREATE USER " + quoted + " IDENTIFIED BY '" + firstPassword + "' REQUIRE SSL",
					"CREATE DATABASE " + database + "; CREATE TABLE " + database + "." + table + " (" + column + " int)",
					"GRANT SELECT ON " + database + ".* TO " + quoted + "; GRANT UPDATE (" + column + ") ON " + database + "." + table + " TO " + quoted,
					"GRANT ALL ON " + database + ".* TO master WITH GRANT OPTION"}
				if s.name == "mysql" {
					statements = append(statements, "GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO "+quoted)
				}
			}
			for _, sql := range statements {
				must(t, s.exec(t.Context(), sql))
			}
			s.aws.PutSecret(s.secret, document)
			for _, s.strategy = range [][]string{{"--strategy", "single"}, {"--strategy", "alternating", "--master", masterSecret}, {"--strategy", "single", "--master", masterSecret}} {
				for range 2 {
					s.rotate(t)
					s.works(t, awsstub.Current)
				}
			}
			if user, _ := s.labelled(awsstub.Current); user != oddName {
				t.Errorf("the user is %q", user)
			}
		})
	}
}
