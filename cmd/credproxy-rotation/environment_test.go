package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/rotation"
)

// TestEnvironmentInDocs holds docs/rotation-setup.md to the variables there are.
func TestEnvironmentInDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/rotation-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range new(environment).variables() {
		def := v.def
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", v.name, def, v.does)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("the table of variables is to be\n%s", &table)
	}
}

func TestEnvironment(t *testing.T) {
	read := func(pairs ...string) (*environment, error) {
		return readEnvironment(func(name string) (string, bool) {
			for _, p := range pairs {
				if k, v, _ := strings.Cut(p, "="); k == name {
					return v, true
				}
			}
			return "", false
		})
	}
	e, err := read()
	if err != nil || e.settings.NoRetain || e.settings.Password.Length != 32 || e.settings.Password.Exclude != rotation.DefaultExclude || !e.settings.Password.EachClass {
		t.Errorf("defaults: %+v, %v", e, err)
	}
	e, err = read("STRATEGY=alternating", "RETAIN_PASSWORD=false", "DISCARD_AFTER=24h", "EXCLUDE_PUNCTUATION=True", "PASSWORD_SOURCE=secretsmanager", "EXCLUDE_CHARACTERS=", "CHECK_WRITE_TABLE=a.b")
	if err != nil || e.settings.Strategy != rotation.Alternating || !e.settings.NoRetain || e.settings.DiscardAfter != 24*time.Hour ||
		!e.settings.Password.NoPunctuation || !e.settings.Password.FromSecretsManager || e.settings.Password.Exclude != "" || e.settings.WriteTable != "a.b" {
		t.Errorf("as set: %+v, %v", e, err)
	}
	e, err = read("RETAIN_PASSWORD=No", "PASSWORD_LENGTH=", "EXCLUDE_NUMBERS=YES", "EXCLUDE_UPPERCASE=y", "REQUIRE_EACH_INCLUDED_TYPE=", "PASSWORD_SOURCE=")
	if err != nil || !e.settings.NoRetain || e.settings.Password.Length != 32 || !e.settings.Password.NoNumbers || !e.settings.Password.NoUppercase || !e.settings.Password.EachClass {
		t.Errorf("as templates write it: %+v, %v", e, err)
	}
	for _, bad := range []string{"STRATEGY=both", "RETAIN_PASSWORD=perhaps", "DISCARD_AFTER=1", "DISCARD_AFTER=-1h", "PASSWORD_SOURCE=aws", "PASSWORD_LENGTH=many", "PASSWORD_LENGTH=3", "CHECK_WRITE_TABLE=a;b", "EXCLUDE_NUMBERS=2"} {
		name, _, _ := strings.Cut(bad, "=")
		if _, err := read(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
