package mysql

import "testing"

// FuzzGrants feeds what SHOW GRANTS may say, and SHOW CREATE USER.
func FuzzGrants(f *testing.F) {
	for _, line := range append(linesMySQL, linesMariaDB...) {
		f.Add(line)
	}
	f.Add("CREATE USER `a`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING '*A' OR pam USING 'x'")
	f.Add("CREATE USER `a`@`%` PASSWORD REQUIRE CURRENT")
	f.Fuzz(func(t *testing.T, line string) {
		_, _ = parseSlots(line)
		_ = requireCurrent(line)
		g, err := parseGrants([]string{line}, nil)
		if err != nil {
			return
		}
		// What it was taken for is said in words that are taken for the same.
		d := &difference{to: user{"u", "%"}, have: newGrants(), want: g}
		for _, s := range d.statements() {
			if _, err := parseGrants([]string{s.SQL}, nil); err != nil {
				t.Errorf("%q became %q: %v", line, s.SQL, err)
			}
		}
	})
}

// FuzzGlobalPriv feeds what MariaDB may keep of an account.
func FuzzGlobalPriv(f *testing.F) {
	f.Add(`{"plugin":"ed25519","authentication_string":"*A","ssl_type":3,"x509_subject":"/CN=a","max_statement_time":2.5,"auth_or":[{}]}`)
	f.Add(`{"password_lifetime":-1,"ssl_type":-1,"max_statement_time":"x"}`)
	f.Fuzz(func(t *testing.T, priv string) {
		if e, _, err := entryMariaDB(user{"u", "%"}, priv); err == nil && len(e.slots) == 0 {
			t.Errorf("%q: no way in", priv)
		}
	})
}

// FuzzAttributes feeds what MySQL may keep of an account.
func FuzzAttributes(f *testing.F) {
	f.Add(`{"metadata": {"a": {"b": 1}}, "Password_locking": {"failed_login_attempts": 3, "password_lock_time_days": -1}}`)
	f.Fuzz(func(t *testing.T, attributes string) {
		s := &Session{server: server{version: [3]int{9, 7, 4}}}
		e, err := s.entryMySQL([]string{"u", "%", "", "", "", "", "", "0", "0", "0", "0", "", "N", "", "", "", attributes, ""})
		if err != nil {
			return
		}
		if again, err := e.changed(&e); err != nil || len(again) > 0 {
			t.Errorf("%q: %q, %v", attributes, again, err)
		}
	})
}
