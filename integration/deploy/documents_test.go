package deploy_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// documents are the texts of docs/ by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(text)
	}
	return texts
}

var hclBlock = regexp.MustCompile("(?ms)^ *```hcl\n(.*?)^ *```$")

// TestDocumentedModules: what the documents show of Terraform can be parsed, and gives each of
// our modules the arguments that it has and needs. A module that writes the first version of a
// secret is one that a removed block takes out of the state.
func TestDocumentedModules(t *testing.T) {
	shown := map[string]bool{}
	for name, text := range documents(t) {
		var written, removed []string
		for _, m := range hclBlock.FindAllStringSubmatch(text, -1) {
			file, faults := hclsyntax.ParseConfig([]byte(m[1]), name, hcl.InitialPos)
			if faults.HasErrors() {
				t.Fatalf("%s: %v", name, faults)
			}
			for _, b := range file.Body.(*hclsyntax.Body).Blocks {
				switch b.Type {
				case "module":
					module := checkCall(t, name, b, readModule(t, sourceOf(t, name, b)))
					shown[module] = true
					if module == "first-version" {
						written = append(written, "module."+b.Labels[0])
					}
				case "removed":
					from := b.Body.Attributes["from"].Expr.Range()
					removed = append(removed, strings.TrimSpace(string(from.SliceBytes([]byte(m[1])))))
				}
			}
		}
		if !slices.Equal(written, removed) {
			t.Errorf("%s: first versions are written by %v, and removed from the state are %v", name, written, removed)
		}
	}
	for _, module := range []string{"account", "alarms", "secret", "first-version", "credproxy", "ecs", "reader", "rotation"} {
		if !shown[module] {
			t.Errorf("no document shows how to call module %s", module)
		}
	}
}

// sourceOf is the name of the module of ours that a block calls.
func sourceOf(t *testing.T, document string, b *hclsyntax.Block) string {
	t.Helper()
	source, faults := b.Body.Attributes["source"].Expr.Value(nil)
	if faults.HasErrors() {
		t.Fatalf("%s: %v", document, faults)
	}
	return path.Base(source.AsString())
}

// checkCall holds a call of a module against its variables, and returns the module's name.
func checkCall(t *testing.T, where string, call *hclsyntax.Block, m *module) string {
	t.Helper()
	given := map[string]bool{"source": true, "count": true, "for_each": true, "depends_on": true, "providers": true}
	for _, b := range m.blocks {
		if b.Type != "variable" {
			continue
		}
		given[b.Labels[0]] = true
		_, optional := b.Body.Attributes["default"]
		if _, has := call.Body.Attributes[b.Labels[0]]; !has && !optional {
			t.Errorf("%s: module %s needs %s", where, call.Labels[0], b.Labels[0])
		}
	}
	for name := range call.Body.Attributes {
		if !given[name] {
			t.Errorf("%s: module %s has no argument %s", where, call.Labels[0], name)
		}
	}
	return sourceOf(t, where, call)
}

var (
	stackCommand  = regexp.MustCompile(`--stack-name ([a-z-]+) --template-file deploy/cloudformation/([a-z-]+)\.yaml((?:[^\n\\]|\\\n)*)`)
	stackArgument = regexp.MustCompile(`(?:^|\s)([A-Z][A-Za-z0-9]+)=`)
)

// TestDocumentedStacks: commands that make a stack give the template the parameters that it has
// and needs, and CloudFormation the word that it wants for roles. An update keeps the
// parameters that it does not give.
func TestDocumentedStacks(t *testing.T) {
	found := 0
	for name, text := range documents(t) {
		stacks := map[string]map[string]bool{}
		for _, m := range stackCommand.FindAllStringSubmatch(text, -1) {
			found++
			stack, file, rest := m[1], m[2], m[3]
			tmpl := readTemplate(t, file)
			if stacks[stack] == nil {
				stacks[stack] = map[string]bool{}
			}
			given := stacks[stack]
			for _, argument := range stackArgument.FindAllStringSubmatch(rest, -1) {
				given[argument[1]] = true
				if _, has := tmpl.section("Parameters")[argument[1]]; !has {
					t.Errorf("%s: %s.yaml has no parameter %s", name, file, argument[1])
				}
			}
			for parameter, p := range tmpl.section("Parameters") {
				if _, optional := p.(map[string]any)["Default"]; !optional && !given[parameter] {
					t.Errorf("%s: %s.yaml needs %s", name, file, parameter)
				}
			}
			want, got := capabilities(tmpl), ""
			if m := regexp.MustCompile(`--capabilities (\w+)`).FindStringSubmatch(rest); m != nil {
				got = m[1]
			}
			if got != want {
				t.Errorf("%s: %s.yaml wants --capabilities %q, the command has %q", name, file, want, got)
			}
		}
	}
	if found == 0 {
		t.Error("no document makes a stack")
	}
}

// capabilities is what CloudFormation wants to hear before it makes a template's roles.
func capabilities(tmpl template) string {
	want := ""
	for _, r := range tmpl.section("Resources") {
		resource := r.(map[string]any)
		properties, _ := resource["Properties"].(map[string]any)
		if _, has := properties["RoleName"]; has {
			return "CAPABILITY_NAMED_IAM"
		}
		if resource["Type"] == "AWS::IAM::Role" {
			want = "CAPABILITY_IAM"
		}
	}
	return want
}
