package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/config.md")

const configIntro = `# Configuration

One YAML file. A key that credproxy does not know is an error, with line, column and the
nearest valid key. Durations are written like 500ms, 90s, 5m or 1h. Relative file names
start from the working directory. ` + "`\"\"`" + ` means "not set".
[deploy/credproxy.yaml](../deploy/credproxy.yaml) shows a whole file.

<!-- Written by go test ./config -update from config.go. -->
`

// TestConfigDoc holds docs/config.md to the schema: its keys, types, defaults, and
// what their comments say.
func TestConfigDoc(t *testing.T) {
	c := &Config{Discover: []Discover{{}}, Databases: []Database{{Credentials: Credentials{
		SecretsManager: &SecretsManager{}, IAM: &IAM{}, DSQL: &DSQL{}, File: &CredentialFile{}, Env: &Env{},
	}}}}
	applyDefaults(c, func(string) bool { return false })
	c.Databases[0].Engine, c.Databases[0].Database = "", "" // which Aurora DSQL alone has defaults for
	d := docWriter{comments: comments(t), t: t}
	d.b.WriteString(configIntro)
	d.section("", reflect.ValueOf(*c))
	const path = "../docs/config.md"
	if *update {
		if err := os.WriteFile(path, []byte(d.b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != d.b.String() {
		t.Errorf("%s is stale: go test ./config -update writes it", path)
	}
}

// comments are those of the schema's types, and of their fields as TYPE.FIELD.
func comments(t *testing.T) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	oneLine := func(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
	for _, decl := range f.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		spec := d.Specs[0].(*ast.TypeSpec)
		all[spec.Name.Name] = oneLine(d.Doc)
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				all[spec.Name.Name+"."+field.Names[0].Name] = oneLine(field.Comment)
			}
		}
	}
	return all
}

type docWriter struct {
	t        *testing.T
	comments map[string]string
	b        strings.Builder
}

// section writes the table of one section, then the sections in it.
func (d *docWriter) section(path string, v reflect.Value) {
	var inner []func()
	var rows strings.Builder
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		key, _ := yamlKey(field)
		at := join(path, key)
		if key == notInFile {
			continue
		}
		if key == "each" {
			inner = append(inner, func() {
				fmt.Fprintf(&d.b, "\n## `%s`\n\nSettings of each database that is found: all sections and keys of `databases[]` but name, engine, host, port, database, role, hosts and\ncredentials. In `listen` a socket has `{name}` in its path, an address port 0.\n", at)
			})
			continue
		}
		switch value.Kind() {
		case reflect.Pointer:
			value = value.Elem()
			fallthrough
		case reflect.Struct:
			inner = append(inner, func() { d.section(at, value) })
			continue
		case reflect.Slice:
			if field.Type.Elem().Kind() == reflect.Struct {
				inner = append(inner, func() { d.section(at+"[]", value.Index(0)) })
				continue
			}
		}
		d.row(&rows, v.Type().Name()+"."+field.Name, key, value)
	}
	if path != "" {
		about := d.comments[v.Type().Name()]
		if about == "" {
			d.t.Errorf("type %s has no comment", v.Type().Name())
		}
		fmt.Fprintf(&d.b, "\n## `%s`\n\n%s\n", path, about)
	}
	if rows.Len() > 0 {
		d.b.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n" + rows.String())
	}
	for _, write := range inner {
		write()
	}
}

// The default has a column of its own.
var inComment = regexp.MustCompile(`(; |^)default \S+$`)

func (d *docWriter) row(b *strings.Builder, field, key string, v reflect.Value) {
	kind, def := "string", fmt.Sprint(v.Interface())
	switch value := v.Interface().(type) {
	case time.Duration:
		kind, def = "duration", short(value)
	case bool:
		kind = "boolean"
	case int:
		kind = "number"
		if value == 0 {
			def = ""
		}
	case []string:
		kind, def = "list", ""
	case map[string]string:
		kind, def = "mapping", ""
	}
	if def != "" {
		def = "`" + def + "`"
	}
	meaning := d.comments[field]
	if def != "" {
		meaning = inComment.ReplaceAllString(meaning, "")
	}
	if d.comments[field] == "" {
		d.t.Errorf("%s (%s) has no comment", field, key)
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, kind, def, strings.ReplaceAll(meaning, "|", `\|`))
}

// short writes 1h0m0s as 1h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
