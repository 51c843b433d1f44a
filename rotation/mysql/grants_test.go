package mysql

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func parsed(t testing.TB, lines ...string) *grants {
	t.Helper()
	g, err := parseGrants(lines, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// as MySQL 9.7 and MariaDB 10.11 say it
var (
	linesMySQL = []string{
		"GRANT SELECT, INSERT, CREATE USER ON *.* TO `u`@`%` WITH GRANT OPTION",
		"GRANT CONNECTION_ADMIN,XA_RECOVER_ADMIN ON *.* TO `u`@`%`",
		"GRANT ROLE_ADMIN ON *.* TO `u`@`%` WITH GRANT OPTION",
		"GRANT ALL PRIVILEGES ON `app`.* TO `u`@`%`",
		"GRANT SELECT ON `we``ird\\_db`.* TO `u`@`%`",
		"REVOKE SELECT ON `mysql`.* FROM `u`@`%`",
		"GRANT SELECT, SELECT (`a`), INSERT (`a`, `b`), UPDATE ON `app`.`t` TO `u`@`%` WITH GRANT OPTION",
		"GRANT EXECUTE, ALTER ROUTINE ON FUNCTION `app`.`f` TO `u`@`%` WITH GRANT OPTION",
		"GRANT PROXY ON ``@`` TO `u`@`%` WITH GRANT OPTION",
		"GRANT `r2`@`localhost` TO `u`@`%`",
		"GRANT `r1`@`%`,`r3`@`%` TO `u`@`%` WITH ADMIN OPTION",
	}
	linesMariaDB = []string{
		"GRANT `r1` TO `u`@`%`",
		"GRANT `r2` TO `u`@`%` WITH ADMIN OPTION",
		"GRANT SELECT, READ_ONLY ADMIN ON *.* TO `u`@`%` IDENTIFIED VIA ed25519 USING 'x' OR unix_socket REQUIRE SUBJECT 'a'b WITH GRANT OPTION' WITH GRANT OPTION MAX_QUERIES_PER_HOUR 5 MAX_STATEMENT_TIME 2.500000",
		"GRANT USAGE ON `app`.* TO `u`@`%` WITH GRANT OPTION",
		"SET DEFAULT ROLE `r1` FOR `u`@`%`",
		"GRANT SELECT ON `app`.`t` TO PUBLIC",
	}
)

func TestParseGrants(t *testing.T) {
	g := parsed(t, linesMySQL...)
	if p := g.on["*.*"]; !p.option || !maps.Equal(p.has, map[string]bool{"SELECT": true, "INSERT": true, "CREATE USER": true}) {
		t.Errorf("*.*: %+v", p)
	}
	if !maps.Equal(g.dynamic, map[string]bool{"CONNECTION_ADMIN": false, "XA_RECOVER_ADMIN": false, "ROLE_ADMIN": true}) {
		t.Errorf("dynamic: %v", g.dynamic)
	}
	if p := g.on["`app`.`t`"]; !p.option || !slices.Equal(sorted(p.has), []string{"INSERT (`a`)", "INSERT (`b`)", "SELECT", "SELECT (`a`)", "UPDATE"}) {
		t.Errorf("table: %+v", p)
	}
	if p := g.on["FUNCTION `app`.`f`"]; !p.option || len(p.has) != 2 {
		t.Errorf("function: %+v", p)
	}
	if p := g.on["`we``ird\\_db`.*"]; p.option || !p.has["SELECT"] {
		t.Errorf("database: %+v", p)
	}
	if !g.without["`mysql`.*"]["SELECT"] || !g.proxies[user{}] || len(g.proxies) != 1 {
		t.Errorf("partial %v, proxies %v", g.without, g.proxies)
	}
	if !maps.Equal(g.roles, map[user]bool{{"r2", "localhost"}: false, {"r1", "%"}: true, {"r3", "%"}: true}) {
		t.Errorf("roles: %v", g.roles)
	}
	g = parsed(t, linesMariaDB...)
	if p := g.on["*.*"]; !p.option || !p.has["READ_ONLY ADMIN"] || len(g.dynamic) != 0 {
		t.Errorf("*.*: %+v", p)
	}
	if !g.on["`app`.*"].option || g.on["`app`.`t`"] != nil || !maps.Equal(g.roles, map[user]bool{{name: "r1"}: false, {name: "r2"}: true}) {
		t.Errorf("%+v", g)
	}
	if g := parsed(t, "GRANT USAGE ON *.* TO `u`@`%` REQUIRE SUBJECT ' WITH GRANT OPTION'"); len(g.on) != 0 {
		t.Errorf("a subject is no option: %+v", g.on)
	}
	if g := parsed(t, "REVOKE  ON `mysql`.* FROM `u`@`%`"); !g.without["`mysql`.*"][grantOption] {
		t.Errorf("GRANT OPTION taken away: %v", g.without)
	}
	g, err := parseGrants([]string{"GRANT SELECT ON *.* TO `r1`@`%`", "GRANT INSERT ON *.* TO 'it''s'@'%'"}, &user{"it's", "%"})
	if err != nil || g.global("SELECT") || !g.global("INSERT") {
		t.Errorf("somebody else's: %+v, %v", g, err)
	}
}

func TestParseGrantsRefuses(t *testing.T) {
	for _, line := range []string{
		"", "DROP USER x", "GRANT", "GRANT SELECT", "GRANT SELECT ON", "GRANT SELECT ON app.* TO `u`@`%`", "GRANT SELECT ON `app` TO `u`@`%`",
		"GRANT SELECT (`a` ON `app`.`t` TO `u`@`%`", "GRANT SELECT (a) ON `app`.`t` TO `u`@`%`", "GRANT , ON *.* TO `u`@`%`", "GRANT SELECT ON *.* TO u",
		"GRANT SELECT ON *.* TO `u`@%", "GRANT `r1` FROM `u`@`%`", "GRANT SELECT ON *.* TO `u", "REVOKE SELECT ON *.* TO `u`@`%`",
		"GRANT SELECT ON *.* TO u IDENTIFIED BY PASSWORD '*HASH'", "GRANT " + strings.Repeat("x", maxText) + " ON *.* TO `u`@`%`",
	} {
		if g, err := parseGrants([]string{line}, nil); err == nil {
			t.Errorf("%.80q: %+v", line, g)
		} else if strings.Contains(err.Error(), "HASH") {
			t.Errorf("a hash is in %q", err)
		}
	}
}

func diff(t testing.TB, s server, have, want []string) []string {
	t.Helper()
	d := &difference{server: s, to: user{"n", "%"}, have: parsed(t, have...), want: parsed(t, want...), known: slices.Concat(onDatabase, []string{"PROCESS"})}
	var sql []string
	for _, s := range d.statements() {
		if revokesRole := strings.HasPrefix(s.SQL, "REVOKE `"); s.Text != "" || len(s.Tolerate) > 0 != revokesRole {
			t.Errorf("%+v", s)
		}
		sql = append(sql, s.SQL)
	}
	return sql
}

func TestDifference(t *testing.T) {
	my, maria := server{version: [3]int{9, 7, 0}}, server{mariadb: true, version: [3]int{10, 11, 0}}
	const to, from = " TO `u`@`%`", " FROM `u`@`%`"
	for name, c := range map[string]struct {
		server
		have, want []string
		sql        string
	}{
		"nothing":  {my, linesMySQL, linesMySQL, ""},
		"nothing ": {maria, linesMariaDB, linesMariaDB, ""},
		"all":      {my, nil, []string{"GRANT ALL PRIVILEGES ON `app`.*" + to + " WITH GRANT OPTION"}, "GRANT ALL PRIVILEGES ON `app`.* TO 'n'@'%' WITH GRANT OPTION"},
		"to all": {my, []string{"GRANT SELECT, SELECT (`a`) ON `app`.`t`" + to}, []string{"GRANT ALL PRIVILEGES ON `app`.`t`" + to},
			"GRANT ALL PRIVILEGES ON `app`.`t` TO 'n'@'%'; REVOKE SELECT (`a`) ON `app`.`t` FROM 'n'@'%'"},
		"less than all": {my, []string{"GRANT ALL PRIVILEGES ON FUNCTION `app`.`f`" + to}, []string{"GRANT EXECUTE ON FUNCTION `app`.`f`" + to},
			"REVOKE ALTER ROUTINE, SHOW CREATE ROUTINE ON FUNCTION `app`.`f` FROM 'n'@'%'"},
		"another level": {my, []string{"GRANT SELECT, INSERT ON `app`.*" + to}, []string{"GRANT SELECT ON *.*" + to, "GRANT INSERT ON `app`.*" + to},
			"GRANT SELECT ON *.* TO 'n'@'%'; REVOKE SELECT ON `app`.* FROM 'n'@'%'"},
		"columns go along": {my, []string{"GRANT SELECT, SELECT (`a`) ON `app`.`t`" + to}, []string{"GRANT SELECT (`a`) ON `app`.`t`" + to},
			"REVOKE SELECT ON `app`.`t` FROM 'n'@'%'; GRANT SELECT (`a`) ON `app`.`t` TO 'n'@'%'"},
		"option": {my, []string{"GRANT SELECT ON `app`.*" + to}, []string{"GRANT SELECT ON `app`.*" + to + " WITH GRANT OPTION"}, "GRANT USAGE ON `app`.* TO 'n'@'%' WITH GRANT OPTION"},
		"no option": {my, []string{"GRANT SELECT ON `app`.*" + to + " WITH GRANT OPTION"}, []string{"GRANT SELECT ON `app`.*" + to},
			"REVOKE GRANT OPTION ON `app`.* FROM 'n'@'%'"},
		"dynamic": {my, []string{"GRANT A_B, C_D, E_F ON *.*" + to + " WITH GRANT OPTION"}, []string{"GRANT C_D ON *.*" + to, "GRANT E_F, G_H ON *.*" + to + " WITH GRANT OPTION"},
			"GRANT G_H ON *.* TO 'n'@'%' WITH GRANT OPTION; REVOKE C_D ON *.* FROM 'n'@'%'; REVOKE C_D ON *.* FROM 'n'@'%'; REVOKE A_B ON *.* FROM 'n'@'%'; REVOKE A_B ON *.* FROM 'n'@'%'; GRANT C_D ON *.* TO 'n'@'%'"},
		"option beside dynamic": {my, []string{"GRANT SELECT ON *.*" + to + " WITH GRANT OPTION", "GRANT A_B ON *.*" + to + " WITH GRANT OPTION"}, []string{"GRANT SELECT ON *.*" + to, "GRANT A_B ON *.*" + to + " WITH GRANT OPTION"},
			"REVOKE GRANT OPTION ON *.* FROM 'n'@'%'; GRANT A_B ON *.* TO 'n'@'%' WITH GRANT OPTION"},
		"partial": {my, []string{"GRANT SELECT, INSERT ON *.*" + to, "REVOKE SELECT, INSERT ON `a`.*" + from}, []string{"GRANT SELECT ON *.*" + to, "REVOKE SELECT ON `b`.*" + from},
			"GRANT SELECT ON `a`.* TO 'n'@'%'; REVOKE INSERT ON *.* FROM 'n'@'%'; REVOKE SELECT ON `b`.* FROM 'n'@'%'"},
		"partial to database": {my, []string{"GRANT SELECT ON *.*" + to, "REVOKE SELECT ON `a`.*" + from}, []string{"GRANT SELECT ON `a`.*" + to},
			"GRANT SELECT ON `a`.* TO 'n'@'%'; REVOKE SELECT ON *.* FROM 'n'@'%'; GRANT SELECT ON `a`.* TO 'n'@'%'"},
		"partial option": {my, []string{"GRANT SELECT ON *.*" + to + " WITH GRANT OPTION", "REVOKE  ON `a`.*" + from}, []string{"GRANT SELECT ON *.*" + to + " WITH GRANT OPTION"}, ""},
		"roles": {my, []string{"GRANT `a`@`%`,`b`@`%`" + to + " WITH ADMIN OPTION"}, []string{"GRANT `b`@`%`" + to, "GRANT `c`@`h`" + to + " WITH ADMIN OPTION"},
			"GRANT `b`@`%` TO 'n'@'%'; GRANT `c`@`h` TO 'n'@'%' WITH ADMIN OPTION; REVOKE `a`@`%` FROM 'n'@'%'"},
		"roles of MariaDB": {maria, []string{"GRANT `a`" + to + " WITH ADMIN OPTION"}, []string{"GRANT `a`" + to, "GRANT `b`" + to},
			"GRANT `b` TO 'n'@'%'; REVOKE ADMIN OPTION FOR `a` FROM 'n'@'%'"},
		"proxies": {my, []string{"GRANT PROXY ON `a`@`%`" + to + " WITH GRANT OPTION", "GRANT PROXY ON `b`@`%`" + to}, []string{"GRANT PROXY ON `a`@`%`" + to, "GRANT PROXY ON `it's`@`%`" + to + " WITH GRANT OPTION"},
			"REVOKE PROXY ON 'a'@'%' FROM 'n'@'%'; REVOKE PROXY ON 'b'@'%' FROM 'n'@'%'; GRANT PROXY ON 'a'@'%' TO 'n'@'%'; GRANT PROXY ON 'it''s'@'%' TO 'n'@'%' WITH GRANT OPTION"},
	} {
		if sql := strings.Join(diff(t, c.server, c.have, c.want), "; "); sql != c.sql {
			t.Errorf("%s:\n%s, want\n%s", name, sql, c.sql)
		}
	}
}

func TestMayGive(t *testing.T) {
	g := parsed(t, "GRANT SELECT, INSERT ON *.* TO `m`@`%` WITH GRANT OPTION", "GRANT ALL PRIVILEGES ON `app`.* TO `m`@`%`",
		"GRANT UPDATE ON `shop`.* TO `m`@`%` WITH GRANT OPTION", "GRANT DELETE ON `cust\\_%`.* TO `m`@`%` WITH GRANT OPTION",
		"GRANT A_B ON *.* TO `m`@`%` WITH GRANT OPTION", "GRANT C_D ON *.* TO `m`@`%`", "GRANT `r`@`%` TO `m`@`%` WITH ADMIN OPTION", "GRANT `s`@`%` TO `m`@`%`",
		"GRANT PROXY ON `p`@`%` TO `m`@`%` WITH GRANT OPTION", "GRANT PROXY ON `q`@`%` TO `m`@`%`")
	for want, needs := range map[bool][]need{
		true: {{privilege: "SELECT", on: "`app`.*"}, {privilege: "SELECT", on: "*.*"}, {privilege: "UPDATE", on: "`shop`.`t`"}, {privilege: "UPDATE", on: "PROCEDURE `shop`.`p`"},
			{privilege: "DELETE", on: "`cust_1`.`t`"}, {privilege: "A_B", on: "*.*"}, {on: "`app`.*"}, {role: &user{"r", "%"}}, {proxy: &user{"p", "%"}}},
		false: {{privilege: "DELETE", on: "`app`.*"}, {privilege: "UPDATE", on: "*.*"}, {privilege: "DELETE", on: "*.*"}, {privilege: "C_D", on: "*.*"}, {role: &user{"s", "%"}}, {proxy: &user{"q", "%"}}},
	} {
		for _, n := range needs {
			if g.gives(n) != want {
				t.Errorf("%+v: %v", n, !want)
			}
		}
	}
}
