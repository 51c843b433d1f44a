package rotation

import (
	"strings"
	"testing"
	"unicode"
)

func TestPasswords(t *testing.T) {
	for name, tt := range map[string]struct {
		rules     PasswordRules
		forbidden func(rune) bool
		length    int
	}{
		"defaults":       {PasswordRules{Exclude: DefaultExclude}, func(r rune) bool { return strings.ContainsRune(DefaultExclude, r) }, 32},
		"no punctuation": {PasswordRules{Length: 64, NoPunctuation: true}, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }, 64},
		"digits alone":   {PasswordRules{Length: 8, NoPunctuation: true, NoLowercase: true, NoUppercase: true}, func(r rune) bool { return !unicode.IsDigit(r) }, 8},
		"each class":     {PasswordRules{Length: 8, EachClass: true}, func(rune) bool { return false }, 8},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for range 500 {
				p, err := tt.rules.generate(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(p) != tt.length || strings.ContainsFunc(p, tt.forbidden) {
					t.Fatalf("password of %d characters, or with one that is excluded", len(p))
				}
				if tt.rules.EachClass && !hasEach(p, tt.rules.classes()) {
					t.Fatal("a class is missing")
				}
				seen[p] = true
			}
			if len(seen) < 490 {
				t.Errorf("%d different ones of 500", len(seen))
			}
		})
	}
	for name, rules := range map[string]PasswordRules{
		"short": {Length: 7}, "long": {Length: 257}, "nothing left": {NoNumbers: true, NoPunctuation: true, NoUppercase: true, NoLowercase: true},
		"little left": {NoPunctuation: true, NoUppercase: true, NoLowercase: true, Exclude: "0"},
	} {
		if _, err := rules.generate(t.Context(), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestParseStep(t *testing.T) {
	for _, name := range []string{"createSecret", "create_secret", "finish_secret", "testSecret"} {
		if _, err := ParseStep(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseStep("CREATE"); err == nil || !strings.Contains(err.Error(), "createSecret") {
		t.Errorf("an unknown step: %v", err)
	}
}
