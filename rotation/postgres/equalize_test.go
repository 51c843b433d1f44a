package postgres

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitNames(t *testing.T) {
	for list, want := range map[string][]string{
		``: nil, `""`: {""}, `public`: {"public"}, `"$user", public`: {"$user", "public"}, `"a,b" , c`: {"a,b", "c"},
		`"odd "" name", "it's"`: {`odd " name`, "it's"}, `"open`: {"open"},
	} {
		if got := splitNames(list); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}

// FuzzSplitNames holds that names that were quoted come back.
func FuzzSplitNames(f *testing.F) {
	f.Add("$user", "public")
	f.Add(`a"b`, `,`)
	f.Fuzz(func(t *testing.T, a, b string) {
		splitNames(a)
		if got := splitNames(name(a) + ", " + name(b)); !slices.Equal(got, []string{a, b}) {
			t.Errorf("%q and %q became %q", a, b, got)
		}
	})
}

func TestQuoting(t *testing.T) {
	if got := name(`a"b`) + literal(`a'b\`); got != `"a""b"'a''b\'` {
		t.Error(got)
	}
	if got := (setting{"", "my.set ting"}).quoted(); got != `"my"."set ting"` {
		t.Error(got)
	}
	if got := (setting{"", "search_path"}).value(`"$user", 'x'`); strings.Count(got, "''x''") != 1 {
		t.Error(got)
	}
}
