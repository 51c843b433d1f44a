// Package credproxy_test holds rules of the whole module as tests: what each
// package may import, and that each says what it is for. It tests no behaviour.
package credproxy_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/credproxy/credproxy"

// mayImport is the table of docs/design.md: which of our packages each may
// import. A package that is missing here may not exist.
var mayImport = map[string][]string{
	"admin":                  {},
	"admin/client":           {"admin"},
	"audit":                  {"secrets"},
	"check":                  {"config", "probe", "proxy/fault", "proxy/mysql", "proxy/postgres", "proxy/upstream", "secrets", "secrets/awscfg", "secrets/env", "wiring"},
	"cmd/credproxy":          {"*"},
	"config":                 {"secrets"},
	"daemon":                 {"admin", "audit", "config", "logging", "metrics", "probe", "proxy", "proxy/fault", "proxy/peer", "proxy/upstream", "secrets", "secrets/awssm", "secrets/env", "secrets/file", "wiring"},
	"iampolicy":              {"config", "secrets/awscfg", "wiring"},
	"logging":                {},
	"metrics":                {"proxy/fault", "secrets"},
	"probe":                  {"config", "proxy/fault", "secrets"},
	"proxy":                  {"config", "logging", "proxy/fault", "proxy/peer", "proxy/relay", "secrets"},
	"proxy/fault":            {"secrets"},
	"proxy/mysql":            {"proxy", "proxy/fault", "proxy/mysql/backend", "proxy/mysql/wire", "proxy/peer", "proxy/relay", "proxy/upstream", "secrets"},
	"proxy/mysql/backend":    {"proxy/fault", "proxy/mysql/wire", "proxy/upstream", "secrets"},
	"proxy/mysql/wire":       {},
	"proxy/nettest":          {},
	"proxy/peer":             {},
	"proxy/postgres":         {"proxy", "proxy/fault", "proxy/peer", "proxy/postgres/backend", "proxy/postgres/wire", "proxy/relay", "proxy/upstream", "secrets"},
	"proxy/postgres/backend": {"proxy/fault", "proxy/postgres/wire", "proxy/upstream", "secrets"},
	"proxy/postgres/wire":    {},
	"proxy/proxytest":        {"proxy", "proxy/fault", "proxy/upstream", "secrets"},
	"proxy/rdsca":            {},
	"proxy/relay":            {"proxy/fault"},
	"proxy/upstream":         {"proxy/fault", "proxy/relay", "secrets"},
	"secrets":                {},
	"secrets/awscfg":         {"secrets"},
	"secrets/awssm":          {"secrets", "secrets/awscfg"},
	"secrets/env":            {"secrets"},
	"secrets/file":           {"secrets"},
	"secrets/rdsiam":         {"secrets", "secrets/awscfg"},
	"secrets/secretstest":    {"secrets"},
	"wiring":                 {"config", "proxy", "proxy/mysql", "proxy/postgres", "proxy/rdsca", "proxy/upstream", "secrets", "secrets/awscfg", "secrets/awssm", "secrets/env", "secrets/file", "secrets/rdsiam"},
}

// noAWS lists packages that must do without the AWS SDK.
var noAWS = []string{"secrets", "secrets/file", "proxy", "proxy/fault", "proxy/relay", "proxy/upstream", "proxy/peer", "proxy/mysql", "proxy/postgres", "config", "metrics", "admin", "logging", "audit", "admin/client", "probe"}

type pkg struct {
	ImportPath, Dir, Doc string
	Imports              []string
	GoFiles              []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func TestImports(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("package %s is not in the table of the design", name)
		}
		seen++
		for _, imp := range p.Imports {
			if slices.Contains(noAWS, name) && strings.HasPrefix(imp, "github.com/aws/") {
				t.Errorf("package %s imports %s", name, imp)
			}
			ours, ok := strings.CutPrefix(imp, module+"/")
			if ok && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("package %s imports %s", name, ours)
			}
		}
	}
	if seen != len(mayImport) {
		t.Errorf("%d packages, %d in the table", seen, len(mayImport))
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(strings.Fields(p.Doc)) < 8 {
			t.Errorf("package %s does not say what it is for", p.ImportPath)
		}
	}
}

// TestNoHiddenWork holds that nothing runs before main and that nothing logs or
// serves through a global.
func TestNoHiddenWork(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function", path)
				}
			}
			for _, imp := range f.Imports {
				if imp.Path.Value == `"log"` {
					t.Errorf("%s uses the global logger", path)
				}
			}
		}
	}
}
