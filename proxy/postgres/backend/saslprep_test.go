package backend

import "testing"

// The forms that PostgreSQL 15 and 18 store keys for; the integration tests log
// in with each.
func TestSASLprep(t *testing.T) {
	for _, tt := range []struct{ name, password, want string }{
		{"plain", "secret", "secret"},
		{"empty", "", ""},
		{"decomposed", "e\u0301", "\u00e9"},
		{"compatibility", "\u2168", "IX"},
		{"spaces", "a\u00a0b\u3000c", "a b c"},
		{"mapped to nothing", "a\u00adb\u200c", "ab"},
		{"in both tables", "a\u200bb", "a b"},
		{"nothing left", "\u00ad", "\u00ad"},
		{"control character", "\u2168\x7f", "\u2168\x7f"},
		{"both directions", "\u2168\u0627", "\u2168\u0627"},
		{"unassigned", "\u2168\U0001f600", "\u2168\U0001f600"},
		{"unassigned, normal form is not", "\U0001f130", "\U0001f130"},
		{"not UTF-8", "\u2168\xff", "\u2168\xff"},
	} {
		if got := saslprep(tt.password); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
