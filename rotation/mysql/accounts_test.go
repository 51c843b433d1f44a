package mysql

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestServerOf(t *testing.T) {
	for text, want := range map[string]server{
		"9.7.4-2":                         {false, [3]int{9, 7, 4}},
		"5.7.44-log":                      {false, [3]int{5, 7, 44}},
		"10.11.18-MariaDB-0+deb12u1-log":  {true, [3]int{10, 11, 18}},
		"8.0.14":                          {false, [3]int{8, 0, 14}},
		"11.4.2-mariadb.mysql_aurora.3.0": {true, [3]int{11, 4, 2}},
	} {
		if got, err := serverOf(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MariaDB", "8.0", "eight"} {
		if got, err := serverOf(text); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for version, retains := range map[string]bool{"8.0.13": false, "8.0.14": true, "8.4.0": true, "5.7.44": false, "10.11.6-MariaDB": false} {
		if s, _ := serverOf(version); s.retains() != retains {
			t.Errorf("%s retains: %v", version, !retains)
		}
	}
}

func TestEntriesMySQL(t *testing.T) {
	s := &Session{server: server{version: [3]int{9, 7, 4}}}
	like := []string{"app", "10.%", "sha256_password", "SPECIFIED", "", "it's", "/CN=a", "5", "0", "0", "2", "90", "Y", "3", "4", "N",
		`{"metadata": {"comment": "it's", "a": {"b": 1}}, "Password_locking": {"failed_login_attempts": 3, "password_lock_time_days": -1}}`, "4142", "43"}
	want, err := s.entryMySQL(like)
	if err != nil || want.second != "43" || want.slots[0].Auth != "4142" {
		t.Fatal(want, err)
	}
	fresh, err := s.fresh(user{"app_clone", "10.%"})
	if err != nil {
		t.Fatal(err)
	}
	const all = `REQUIRE SUBJECT '/CN=a' AND ISSUER 'it''s'|WITH MAX_QUERIES_PER_HOUR 5|MAX_USER_CONNECTIONS 2|PASSWORD EXPIRE INTERVAL 90 DAY|ACCOUNT LOCK|PASSWORD HISTORY 3|PASSWORD REUSE INTERVAL 4 DAY|PASSWORD REQUIRE CURRENT OPTIONAL|FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED|ATTRIBUTE '{"a":{"b":1},"comment":"it''s"}'`
	const back = `REQUIRE NONE|WITH MAX_QUERIES_PER_HOUR 0|MAX_USER_CONNECTIONS 0|PASSWORD EXPIRE DEFAULT|ACCOUNT UNLOCK|PASSWORD HISTORY DEFAULT|PASSWORD REUSE INTERVAL DEFAULT|PASSWORD REQUIRE CURRENT DEFAULT|FAILED_LOGIN_ATTEMPTS 0 PASSWORD_LOCK_TIME 0|ATTRIBUTE '{"a":null,"comment":null}'`
	for _, c := range []struct {
		have, want *entry
		clauses    string
	}{{&fresh, &want, all}, {&want, &fresh, back}, {&want, &want, ""}, {&fresh, &fresh, ""}} {
		if got, err := c.have.changed(c.want); err != nil || strings.Join(got, "|") != c.clauses {
			t.Errorf("%s, %v, want\n%s", strings.Join(got, "|"), err, c.clauses)
		}
	}
	like[16] = `{"multi_factor_authentication": [{}]}`
	if _, err := s.entryMySQL(like); err == nil || !strings.Contains(err.Error(), "second factor") {
		t.Error(err)
	}
	like[16] = "{"
	if _, err := s.entryMySQL(like); err == nil {
		t.Error("no JSON")
	}
	old := &Session{server: server{version: [3]int{5, 7, 44}}}
	like[16] = ""
	if e, err := old.entryMySQL(like); err != nil || len(e.clauses) != 7 {
		t.Errorf("5.7: %+v, %v", e, err)
	}
}

func TestEntriesMariaDB(t *testing.T) {
	e, role, err := entryMariaDB(user{"u", "%"}, `{"access":33555459,"version_id":101118,"plugin":"mysql_native_password","authentication_string":"*A","ssl_type":3,"ssl_cipher":"","x509_issuer":"","x509_subject":"/CN=a","max_questions":5,"max_statement_time":2.500000,"account_locked":true,"password_last_changed":1796045413,"password_lifetime":5,"default_role":"r1","auth_or":[{"plugin":"unix_socket"},{},{"plugin":"ed25519","authentication_string":"B"}]}`)
	if err != nil || role || !slices.Equal(e.slots, []slot{{"unix_socket", ""}, {"mysql_native_password", "*A"}, {"ed25519", "B"}}) || !slices.Equal(e.defaultRoles, []user{{name: "r1"}}) {
		t.Errorf("%+v, %v, %v", e, role, err)
	}
	fresh, _, err := entryMariaDB(user{"u", "%"}, "{}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := fresh.changed(&e)
	if want := "REQUIRE SUBJECT '/CN=a' WITH MAX_QUERIES_PER_HOUR 5 MAX_STATEMENT_TIME 2.5 ACCOUNT LOCK PASSWORD EXPIRE INTERVAL 5 DAY"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%s, %v, want\n%s", strings.Join(got, " "), err, want)
	}
	if _, role, err := entryMariaDB(user{"r", ""}, `{"access":0,"is_role":true}`); err != nil || !role {
		t.Error(role, err)
	}
	if _, _, err := entryMariaDB(user{"u", "%"}, `{"authentication_string":"HASH`); err == nil || strings.Contains(err.Error(), "HASH") {
		t.Error(err)
	}
}

func TestMergePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{}`, `{"a": 1}`, `{"a":1}`},
		{`{"a": 1, "b": {"c": 1, "d": [1]}}`, `{"b": {"d": [1, 2]}}`, `{"a":null,"b":{"c":null,"d":[1,2]}}`},
		{`{"a": {"b": 1}}`, `{"a": 2}`, `{"a":2}`},
		{`{"a": {"b": 1}}`, `{"a": {"b": 1}}`, `{}`},
	} {
		var have, want map[string]any
		if json.Unmarshal([]byte(c[0]), &have) != nil || json.Unmarshal([]byte(c[1]), &want) != nil {
			t.Fatal(c)
		}
		if got, err := json.Marshal(mergePatch(have, want)); err != nil || string(got) != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := (user{`it's\` + "\x00", "%"}).String(); got != `'it''s\\\0'@'%'` {
		t.Error(got)
	}
	if got := (user{"a`b", ""}).role(); got != "`a``b`" {
		t.Error(got)
	}
	for text, want := range map[string]user{"a@b@10.%": {"a@b", "10.%"}, "@localhost": {"", "localhost"}, "role": {"role", ""}} {
		if got := userOf(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
