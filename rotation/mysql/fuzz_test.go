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
		e, err := s.entryMySQL([]string{"u", "%", "", "", "", "", "", "0", "0", "0", "0", "", "N", "", "", "", attributes, "", ""})
		if err != nil {
			return
		}
		if again, err := e.changed(&e); err != nil || len(again) > 0 {
			t.Errorf("%q: %q, %v", attributes, again, err)
		}
	})
}

// FuzzKeeps feeds what MySQL may keep of a password.
func FuzzKeeps(f *testing.F) {
	f.Add("caching_sha2_password", "24412430304124666B33710B2D685E4D59041C2A7407565C08077D32332E3469466A36434E772F704748484E756E49426B54756B505A617646456334643464593233444C4236", "p")
	f.Add("sha256_password", "2435247049375B070B6B42411F1A2F390E032B152D042F245A6859466A66304263744E6E37466151376B5959707145507954526A6B34654E3458634C4743634D745643", "")
	f.Fuzz(func(t *testing.T, plugin, kept, password string) {
		if len(kept) > 10 && kept[8:10] != "30" || len(password) > 100 {
			return // it would count for long
		}
		_, _ = keeps(plugin, kept, password)
	})
}
