// Package credproxy_test holds rules of the whole module as tests: what each
// package may import, and that each says what it is for. It tests no behaviour.
package credproxy_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
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
	"admin":                  {"admin/chart", "metrics/recent"},
	"admin/chart":            {},
	"admin/client":           {"admin"},
	"admin/shown":            {"admin", "discovery", "probe", "proxy/upstream", "secrets", "topology"},
	"admin/sockets":          {"admin", "config", "logging", "proxy", "proxy/peer", "upgrade", "wiring"},
	"admin/tally":            {"admin", "proxy", "proxy/fault", "secrets"},
	"audit":                  {"secrets"},
	"check":                  {"config", "discovery", "probe", "proxy/fault", "proxy/mysql/backend", "proxy/postgres/backend", "proxy/upstream", "secrets", "secrets/awscfg", "secrets/env", "topology", "wiring"},
	"cmd/credproxy":          {"*"},
	"cmd/credproxy-rotation": {"config", "logging", "rotation", "wiring"},
	"config":                 {"config/text", "secrets", "tracing"},
	"config/change":          {"config"},
	"config/text":            {},
	"daemon":                 {"admin", "admin/shown", "admin/sockets", "admin/tally", "audit", "config", "config/change", "discovery", "filewatch", "logging", "memory", "metrics", "probe", "proxy", "proxy/fault", "proxy/peer", "proxy/pool", "proxy/upstream", "secrets", "secrets/awscfg", "secrets/awssm", "secrets/env", "secrets/file", "systemd", "topology", "tracing/otlp", "upgrade", "upgrade/older", "wiring"},
	"discovery":              {"config", "inventory", "secrets", "secrets/awscfg"},
	"filewatch":              {},
	"iampolicy":              {"config", "secrets/awscfg", "wiring"},
	"inventory":              {"config", "secrets", "secrets/awscfg"},
	"logging":                {},
	"memory":                 {},
	"metrics":                {"metrics/recent", "probe", "proxy/fault", "proxy/pool", "secrets", "topology"},
	"metrics/recent":         {},
	"probe":                  {"config", "proxy/fault", "secrets"},
	"proxy":                  {"config", "logging", "proxy/fault", "proxy/peer", "proxy/relay", "secrets", "tracing"},
	"proxy/fault":            {"secrets"},
	"proxy/mysql":            {"proxy", "proxy/fault", "proxy/mysql/backend", "proxy/mysql/wire", "proxy/peer", "proxy/pool", "proxy/relay", "proxy/upstream", "secrets", "topology", "tracing"},
	"proxy/mysql/backend":    {"proxy/fault", "proxy/mysql/wire", "proxy/upstream", "secrets", "tracing"},
	"proxy/mysql/wire":       {},
	"proxy/nettest":          {},
	"proxy/peer":             {},
	"proxy/pool":             {"tracing"},
	"proxy/postgres":         {"proxy", "proxy/fault", "proxy/peer", "proxy/pool", "proxy/postgres/backend", "proxy/postgres/wire", "proxy/relay", "proxy/upstream", "secrets", "topology", "tracing"},
	"proxy/postgres/backend": {"proxy/fault", "proxy/postgres/wire", "proxy/upstream", "secrets", "tracing"},
	"proxy/postgres/wire":    {},
	"proxy/proxytest":        {"config", "proxy", "proxy/fault", "proxy/nettest", "proxy/upstream", "secrets", "topology"},
	"proxy/rdsca":            {},
	"proxy/relay":            {"proxy/fault"},
	"proxy/upstream":         {"config", "proxy/fault", "proxy/relay", "secrets", "tracing"},
	"rotation":               {"config", "probe", "proxy/fault", "rotation/account", "rotation/store", "secrets"},
	"rotation/account":       {"secrets"},
	"rotation/mysql":         {"proxy/fault", "proxy/mysql/backend", "proxy/upstream", "rotation/account", "secrets"},
	"rotation/postgres":      {"proxy/postgres/backend", "proxy/postgres/wire", "proxy/upstream", "rotation/account", "secrets"},
	"rotation/store":         {"secrets", "secrets/awscfg", "secrets/awssm"},
	"secrets":                {"tracing"},
	"secrets/awscfg":         {"secrets"},
	"secrets/awssm":          {"secrets", "secrets/awscfg"},
	"secrets/env":            {"secrets"},
	"secrets/file":           {"filewatch", "secrets"},
	"secrets/rdsiam":         {"secrets", "secrets/awscfg"},
	"secrets/secretstest":    {"secrets"},
	"topology":               {"proxy/fault", "secrets", "tracing"},
	"tracing":                {},
	"tracing/otlp":           {"proxy/fault", "tracing"},
	"systemd":                {},
	"upgrade":                {},
	"upgrade/older":          {"admin", "metrics", "upgrade"},
	"wiring":                 {"config", "proxy", "proxy/mysql", "proxy/peer", "proxy/pool", "proxy/postgres", "proxy/rdsca", "proxy/upstream", "rotation", "rotation/account", "rotation/mysql", "rotation/postgres", "rotation/store", "secrets", "secrets/awscfg", "secrets/awssm", "secrets/env", "secrets/file", "secrets/rdsiam", "topology"},
}

// mayUseAWS lists the packages that may use the AWS SDK.
var mayUseAWS = []string{"check", "cmd/credproxy", "cmd/credproxy-rotation", "daemon", "iampolicy", "inventory", "rotation", "rotation/store", "secrets/awscfg", "secrets/awssm", "secrets/rdsiam", "wiring"}

// mayUseSDK is the package that owns the SDK of OpenTelemetry.
const mayUseSDK = "tracing/otlp"

// What one reader can hold in mind, in lines without tests.
const (
	maxFile    = 400
	maxPackage = 2500
)

// maxLines narrows maxPackage: these packages once were everything.
var maxLines = map[string]int{"cmd/credproxy": 1500, "proxy": 1100}

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

// TestImageHasAllPackages holds that the build of the image gets what the program is
// made of.
func TestImageHasAllPackages(t *testing.T) {
	ignored, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/credproxy").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		ours, ok := strings.CutPrefix(name, module+"/")
		top, _, _ := strings.Cut(ours, "/")
		if ok && !strings.Contains(string(ignored), "\n!"+top+"\n") {
			t.Errorf(".dockerignore leaves out %s, of package %s", top, ours)
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
			if !slices.Contains(mayUseAWS, name) && strings.HasPrefix(imp, "github.com/aws/") {
				t.Errorf("package %s imports %s", name, imp)
			}
			if name != mayUseSDK && strings.HasPrefix(imp, "go.opentelemetry.io/") {
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

// TestPackageDocs holds that each package says what it is for, what always holds, and
// what it does not do. (What it does not do has no word of its own to look for.)
func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		text, err := exec.CommandContext(t.Context(), "go", "doc", p.ImportPath).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "nvariant") {
			t.Errorf("package %s does not say what always holds", p.ImportPath)
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

// TestSizes holds that no file and no package grows beyond what one reader can hold in
// mind.
func TestSizes(t *testing.T) {
	for _, p := range packages(t) {
		name, total := strings.TrimPrefix(p.ImportPath, module+"/"), 0
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(text, []byte("\n"))
			if total += lines; lines > maxFile {
				t.Errorf("%s/%s has %d lines, more than %d", name, file, lines, maxFile)
			}
		}
		if limit := cmp.Or(maxLines[name], maxPackage); total > limit {
			t.Errorf("package %s has %d lines, more than %d", name, total, limit)
		}
	}
}

// TestCommandsStartNothing holds that the commands own no goroutine: what runs beside
// them belongs to the packages that they call. Signals are theirs.
func TestCommandsStartNothing(t *testing.T) {
	files, err := filepath.Glob("cmd/credproxy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", fset.Position(n.Pos()))
			case *ast.SelectorExpr: // WaitGroup.Go, errgroup's Go, and timers
				signals := filepath.Base(path) == "signals.go" && n.Sel.Name == "AfterFunc"
				if n.Sel.Name == "Go" || n.Sel.Name == "AfterFunc" && !signals {
					t.Errorf("%s starts a goroutine", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
}
