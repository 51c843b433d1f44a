package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// template is a CloudFormation template: maps, lists and scalars, and an intrinsic function
// wherever a tag such as !Ref stood.
type template map[string]any

type intrinsic struct {
	name string
	of   any
}

type stackResource struct {
	Type       string
	Properties map[string]any
}

// readTemplate reads one and checks what holds for all parameters: its sections, and
// that all it refers to is there.
func readTemplate(t *testing.T, name string) template {
	t.Helper()
	path := filepath.Join(root, "deploy", "cloudformation", name+".yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(text) > 51200 {
		t.Errorf("%s is longer than CloudFormation takes", path)
	}
	tmpl := template(plain(t, document.Content[0]).(map[string]any))
	tmpl.checkReferences(t, name)
	return tmpl
}

// plain turns YAML into what it stands for; a key that is there twice is an error.
func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	if name, local := strings.CutPrefix(n.Tag, "!"); local && !strings.HasPrefix(name, "!") {
		untagged := *n
		untagged.Tag = ""
		return intrinsic{name, plain(t, &untagged)}
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if _, twice := m[key]; twice {
				t.Errorf("line %d: %s is there twice", n.Content[i].Line, key)
			}
			m[key] = plain(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, entry := range n.Content {
			list = append(list, plain(t, entry))
		}
		return list
	}
	var value any
	if err := n.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func (tmpl template) section(name string) map[string]any {
	section, _ := tmpl[name].(map[string]any)
	return section
}

var (
	sections     = []string{"AWSTemplateFormatVersion", "Transform", "Description", "Parameters", "Rules", "Conditions", "Resources", "Outputs"}
	resourceKeys = []string{"Type", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Properties"}
	pseudo       = map[string]string{"AWS::AccountId": account, "AWS::Region": region, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com", "AWS::NoValue": ""}
	placeholder  = regexp.MustCompile(`\$\{([^}]*)\}`)
)

func (tmpl template) checkReferences(t *testing.T, name string) {
	t.Helper()
	spec, used := readSpec(t), map[string]bool{}
	for section := range tmpl {
		if !slices.Contains(sections, section) {
			t.Errorf("%s: section %s", name, section)
		}
	}
	fail := func(what any) { t.Errorf("%s: %v refers to nothing", name, what) }
	refer := func(to string) {
		to, attribute, isAttribute := strings.Cut(to, ".")
		resource, isResource := tmpl.section("Resources")[to].(map[string]any)
		_, isParameter := tmpl.section("Parameters")[to]
		_, isPseudo := pseudo[to]
		switch {
		case isAttribute && isResource && slices.Contains(spec[resource["Type"].(string)].Attributes, attribute):
		case !isAttribute && (isResource || isParameter || isPseudo):
		default:
			fail(to + " " + attribute)
		}
		used[to] = true
	}
	condition := func(name any) {
		if _, known := tmpl.section("Conditions")[fmt.Sprint(name)]; !known {
			fail(name)
		}
		used[fmt.Sprint(name)] = true
	}
	for _, r := range tmpl.section("Resources") {
		resource := r.(map[string]any)
		for key := range resource {
			if !slices.Contains(resourceKeys, key) {
				t.Errorf("%s: a resource has no key %s", name, key)
			}
		}
		if c, has := resource["Condition"]; has {
			condition(c)
		}
		if on, has := resource["DependsOn"]; has {
			refer(on.(string))
		}
	}
	for _, o := range tmpl.section("Outputs") {
		if c, has := o.(map[string]any)["Condition"]; has {
			condition(c)
		}
	}
	walk(map[string]any(tmpl), func(f intrinsic) {
		switch f.name {
		case "Ref", "GetAtt":
			refer(f.of.(string))
		case "Sub":
			for _, match := range placeholder.FindAllStringSubmatch(f.of.(string), -1) {
				refer(match[1])
			}
		case "If":
			condition(f.of.([]any)[0])
		case "Condition":
			condition(f.of)
		case "Equals", "Not", "And", "Or", "Select", "Split", "Join":
		default:
			t.Errorf("%s: function %s", name, f.name)
		}
	})
	for _, section := range []string{"Parameters", "Conditions"} {
		for key := range tmpl.section(section) {
			if !used[key] {
				t.Errorf("%s: nothing uses %s", name, key)
			}
		}
	}
}

func walk(value any, visit func(intrinsic)) {
	switch v := value.(type) {
	case intrinsic:
		visit(v)
		walk(v.of, visit)
	case map[string]any:
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

// stack is a template with its parameters.
type stack struct {
	t          *testing.T
	template   template
	parameters map[string]string
}

func (tmpl template) with(t *testing.T, parameters map[string]string) *stack {
	t.Helper()
	s := &stack{t, tmpl, map[string]string{}}
	for name, p := range tmpl.section("Parameters") {
		declared := p.(map[string]any)
		value, given := parameters[name]
		if !given {
			value = fmt.Sprint(declared["Default"])
		}
		if _, has := declared["Default"]; !has && !given {
			t.Errorf("parameter %s has no value", name)
		}
		allowed, _ := declared["AllowedValues"].([]any)
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(a any) bool { return fmt.Sprint(a) == value }) {
			t.Errorf("parameter %s may not be %q", name, value)
		}
		if pattern, has := declared["AllowedPattern"].(string); has && !regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) {
			t.Errorf("parameter %s may not be %q", name, value)
		}
		s.parameters[name] = value
	}
	return s
}

// render returns the resources that the template makes.
func (tmpl template) render(t *testing.T, parameters map[string]string) map[string]stackResource {
	t.Helper()
	s := tmpl.with(t, parameters)
	if broken := tmpl.broken(t, parameters); broken != "" {
		t.Errorf("%v: %s", parameters, broken)
	}
	made := map[string]stackResource{}
	for name, r := range tmpl.section("Resources") {
		resource := r.(map[string]any)
		if s.has(name) {
			properties, _ := s.value(resource["Properties"]).(map[string]any)
			made[name] = stackResource{resource["Type"].(string), properties}
		}
	}
	for name, o := range tmpl.section("Outputs") {
		output := o.(map[string]any)
		if c, has := output["Condition"]; !has || s.condition(c.(string)) {
			if s.value(output["Value"]) == "" {
				t.Errorf("output %s is empty", name)
			}
		}
	}
	return made
}

// broken returns what the first rule that the parameters break says.
func (tmpl template) broken(t *testing.T, parameters map[string]string) string {
	t.Helper()
	s := tmpl.with(t, parameters)
	for _, r := range tmpl.section("Rules") {
		rule := r.(map[string]any)
		if c, has := rule["RuleCondition"]; has && s.value(c) != true {
			continue
		}
		for _, a := range rule["Assertions"].([]any) {
			assertion := a.(map[string]any)
			if s.value(assertion["Assert"]) != true {
				return assertion["AssertDescription"].(string)
			}
		}
	}
	return ""
}

func (s *stack) has(resource string) bool {
	c, conditional := s.template.section("Resources")[resource].(map[string]any)["Condition"]
	return !conditional || s.condition(c.(string))
}

func (s *stack) condition(name string) bool {
	return s.value(s.template.section("Conditions")[name]) == true
}

// noValue stands where the template says !Ref AWS::NoValue.
var noValue = new(int)

func (s *stack) value(v any) any {
	switch v := v.(type) {
	case intrinsic:
		return s.call(v)
	case map[string]any:
		m := map[string]any{}
		for key, inner := range v {
			if value := s.value(inner); value != any(noValue) {
				m[key] = value
			}
		}
		return m
	case []any:
		list := []any{}
		for _, inner := range v {
			if value := s.value(inner); value != any(noValue) {
				list = append(list, value)
			}
		}
		return list
	}
	return v
}

func (s *stack) call(f intrinsic) any {
	switch f.name {
	case "Ref":
		if f.of == "AWS::NoValue" {
			return noValue
		}
		return s.list(f.of.(string), s.refer(f.of.(string)))
	case "GetAtt":
		return s.refer(f.of.(string))
	case "Sub":
		return placeholder.ReplaceAllStringFunc(f.of.(string), func(p string) string { return s.refer(p[2 : len(p)-1]) })
	case "Condition":
		return s.condition(f.of.(string))
	}
	args := f.of.([]any)
	switch f.name {
	case "If":
		if s.condition(args[0].(string)) {
			return s.value(args[1])
		}
		return s.value(args[2])
	case "Equals":
		return fmt.Sprint(s.value(args[0])) == fmt.Sprint(s.value(args[1]))
	case "Not":
		return s.value(args[0]) != true
	case "Or":
		return slices.ContainsFunc(args, func(a any) bool { return s.value(a) == true })
	case "Split":
		return strings.Split(s.value(args[1]).(string), args[0].(string))
	case "Join":
		var texts []string
		for _, entry := range s.value(args[1]).([]any) {
			texts = append(texts, entry.(string))
		}
		return strings.Join(texts, args[0].(string))
	case "Select":
		return s.value(args[1]).([]string)[args[0].(int)]
	case "And":
		return !slices.ContainsFunc(args, func(a any) bool { return s.value(a) != true })
	}
	s.t.Fatalf("function %s", f.name)
	return nil
}

// list is the value of a parameter, split if it is a list.
func (s *stack) list(parameter, value string) any {
	declared, _ := s.template.section("Parameters")[parameter].(map[string]any)
	if kind, _ := declared["Type"].(string); !strings.HasPrefix(kind, "List<") && kind != "CommaDelimitedList" {
		return value
	}
	entries := []any{}
	for entry := range strings.SplitSeq(value, ",") {
		entries = append(entries, entry)
	}
	return entries
}

// refer is the value of a reference. What a resource would be called is made up.
func (s *stack) refer(to string) string {
	if value, ok := pseudo[to]; ok {
		return value
	}
	if value, ok := s.parameters[to]; ok {
		return value
	}
	name, _, _ := strings.Cut(to, ".")
	if !s.has(name) {
		s.t.Errorf("something refers to %s, which these parameters do not make", name)
	}
	switch name {
	case "Rotations":
		return queueARN
	case "Secret":
		return secretARN
	}
	return "arn:aws:made-up:" + region + ":" + account + ":" + name
}
