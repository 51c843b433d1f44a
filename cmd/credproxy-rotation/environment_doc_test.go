package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestVariablesDoc holds the table of docs/rotation-setup.md to what the function goes by.
func TestVariablesDoc(t *testing.T) {
	text, err := os.ReadFile("../../docs/rotation-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, v := range new(environment).variables() {
		def := ""
		if v.def != "" {
			def = "`" + v.def + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", v.name, def, v.does)
	}
	if want := "|---|---|---|\n" + table.String() + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("the table of variables is stale; it is to be\n%s", want)
	}
}
