package deploy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// evaluate evaluates every expression with these variables, in JSON. What AWS would answer is
// made up: an ARN, a name, an address.
func (m *module) evaluate(t *testing.T, variables string) {
	t.Helper()
	m.evaluateWith(t, valuesOf(t, variables))
}

// valuesOf reads variables, which are an object in JSON.
func valuesOf(t *testing.T, variables string) map[string]cty.Value {
	t.Helper()
	kind, err := ctyjson.ImpliedType([]byte(variables))
	if err != nil {
		t.Fatal(err)
	}
	values, err := ctyjson.Unmarshal([]byte(variables), kind)
	if err != nil {
		t.Fatal(err)
	}
	return values.AsValueMap()
}

// evaluateWith is evaluate with values, which may be unknown, as is what Terraform learns
// only when it has made it.
func (m *module) evaluateWith(t *testing.T, given map[string]cty.Value) {
	t.Helper()
	m.made, m.each, m.conditions = map[string]map[string]cty.Value{}, map[string][]map[string]cty.Value{}, map[string]bool{}
	m.outputs, m.unknown = map[string]cty.Value{}, nil
	m.scope = &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{
		"path": object(map[string]cty.Value{"module": cty.StringVal(m.dir)}),
		"var":  m.variables(t, given),
		"data": object(map[string]cty.Value{
			"aws_secretsmanager_secret_versions": object(map[string]cty.Value{"this": object(map[string]cty.Value{"versions": m.versions})}),
			"aws_caller_identity":                object(map[string]cty.Value{"this": object(map[string]cty.Value{"account_id": cty.StringVal(account)})}),
			"aws_partition":                      object(map[string]cty.Value{"this": object(map[string]cty.Value{"partition": cty.StringVal("aws"), "dns_suffix": cty.StringVal("amazonaws.com")})}),
			"aws_region":                         object(map[string]cty.Value{"this": object(map[string]cty.Value{"region": cty.StringVal(region)})}),
		}),
		"ephemeral": object(map[string]cty.Value{
			"aws_secretsmanager_random_password": object(map[string]cty.Value{"first": object(map[string]cty.Value{"random_password": cty.StringVal("made-up")})}),
		}),
	}}
	for _, b := range m.blocks {
		if b.Type != "variable" {
			continue
		}
		for _, inner := range b.Body.Blocks {
			m.condition(t, "variable "+b.Labels[0], inner.Body)
		}
	}
	if m.refused() {
		return // as Terraform does
	}
	m.resolve(t)
	for _, b := range m.blocks {
		switch b.Type {
		case "resource":
			m.resource(t, b)
		case "output":
			m.outputs[b.Labels[0]] = m.must(t, b.Body.Attributes["value"].Expr, m.scope)
		}
	}
}

// refused reports whether a condition did not hold.
func (m *module) refused() bool {
	return slices.Contains(slices.Collect(maps.Values(m.conditions)), true)
}

func object(m map[string]cty.Value) cty.Value { return cty.ObjectVal(m) }

func (m *module) variables(t *testing.T, given map[string]cty.Value) cty.Value {
	t.Helper()
	values := map[string]cty.Value{}
	maps.Copy(values, given)
	declared := map[string]bool{}
	for _, b := range m.blocks {
		if b.Type != "variable" {
			continue
		}
		name := b.Labels[0]
		declared[name] = true
		_, isGiven := given[name]
		if standard, has := b.Body.Attributes["default"]; has && !isGiven {
			values[name] = m.must(t, standard.Expr, nil)
		} else if !isGiven {
			t.Errorf("variable %s has no value", name)
		}
	}
	for name := range values {
		if !declared[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
	return object(values)
}

// resolve puts locals and resources in scope, each when what it refers to is there.
func (m *module) resolve(t *testing.T) {
	t.Helper()
	locals := map[string]cty.Value{}
	kinds := map[string]map[string]cty.Value{}
	for {
		var waiting hcl.Diagnostics
		progress := false
		for _, b := range m.blocks {
			switch b.Type {
			case "locals":
				for name, a := range b.Body.Attributes {
					if _, done := locals[name]; done {
						continue
					}
					value, faults := a.Expr.Value(m.scope)
					if faults.HasErrors() {
						waiting = append(waiting, faults...)
						continue
					}
					locals[name], progress = value, true
				}
			case "module":
				if _, done := kinds["module"][b.Labels[0]]; done {
					continue
				}
				outputs, faults := m.call(t, b)
				if faults.HasErrors() {
					waiting = append(waiting, faults...)
					continue
				}
				if kinds["module"] == nil {
					kinds["module"] = map[string]cty.Value{}
				}
				kinds["module"][b.Labels[0]], progress = object(outputs), true
			case "resource":
				kind, name := b.Labels[0], b.Labels[1]
				if _, done := kinds[kind][name]; done {
					continue
				}
				value, faults := m.standIn(b)
				if faults.HasErrors() {
					waiting = append(waiting, faults...)
					continue
				}
				if kinds[kind] == nil {
					kinds[kind] = map[string]cty.Value{}
				}
				kinds[kind][name], progress = value, true
			}
		}
		m.scope.Variables["local"] = object(locals)
		for kind, names := range kinds {
			m.scope.Variables[kind] = object(names)
		}
		if len(waiting) == 0 {
			return
		}
		if !progress {
			t.Fatal(waiting)
		}
	}
}

// call evaluates another of our modules with the arguments of a module block, and returns
// its outputs.
func (m *module) call(t *testing.T, b *hclsyntax.Block) (map[string]cty.Value, hcl.Diagnostics) {
	t.Helper()
	arguments := map[string]cty.Value{}
	for name, a := range b.Body.Attributes {
		value, faults := a.Expr.Value(m.scope)
		if faults.HasErrors() {
			return nil, faults
		}
		if name != "source" {
			arguments[name] = value
		}
	}
	called := readModule(t, sourceOf(t, m.dir, b))
	called.evaluateWith(t, arguments)
	m.unknown = append(m.unknown, called.unknown...)
	if called.refused() {
		t.Errorf("module %s refuses %v: %v", b.Labels[0], arguments, called.conditions)
	}
	return called.outputs, nil
}

// standIn is what others see of a resource.
func (m *module) standIn(b *hclsyntax.Block) (cty.Value, hcl.Diagnostics) {
	arn := "arn:aws:made-up:" + region + ":" + account + ":" + b.Labels[1]
	switch b.Labels[0] {
	case "aws_sqs_queue":
		arn = queueARN
	case "aws_secretsmanager_secret":
		arn = secretARN
	}
	name := cty.StringVal(b.Labels[1])
	if a, has := b.Body.Attributes["name"]; has && b.Body.Attributes["for_each"] == nil {
		given, faults := a.Expr.Value(m.scope)
		if faults.HasErrors() {
			return cty.NilVal, faults
		}
		name = given
	}
	value := object(map[string]cty.Value{
		"arn": cty.StringVal(arn), "function_name": cty.StringVal(b.Labels[1]), "id": cty.StringVal(arn), "name": name, "secret_id": cty.StringVal(arn), "url": cty.StringVal("https://made.up"),
		"outputs": object(map[string]cty.Value{"RotationLambdaARN": cty.StringVal(arn)}),
	})
	count, has := b.Body.Attributes["count"]
	if !has {
		return value, nil
	}
	n, faults := count.Expr.Value(m.scope)
	switch {
	case faults.HasErrors():
		return value, faults
	case !n.IsKnown():
		return cty.DynamicVal, nil
	case n.RawEquals(cty.NumberIntVal(0)):
		return cty.EmptyTupleVal, nil
	}
	return cty.TupleVal([]cty.Value{value}), nil
}

// resource evaluates all of a resource, once for each of for_each.
func (m *module) resource(t *testing.T, b *hclsyntax.Block) {
	t.Helper()
	scopes := []*hcl.EvalContext{m.scope}
	if _, has := b.Body.Attributes["count"]; has {
		scopes[0] = m.scope.NewChild()
		scopes[0].Variables = map[string]cty.Value{"count": object(map[string]cty.Value{"index": cty.NumberIntVal(0)})}
	}
	for _, name := range []string{"count", "for_each"} {
		if a, has := b.Body.Attributes[name]; has && !m.must(t, a.Expr, m.scope).IsKnown() {
			m.unknown = append(m.unknown, strings.Join(b.Labels, "."))
			return
		}
	}
	if count, has := b.Body.Attributes["count"]; has && m.must(t, count.Expr, m.scope).RawEquals(cty.NumberIntVal(0)) {
		return
	}
	if each, has := b.Body.Attributes["for_each"]; has {
		scopes = nil
		for it := m.must(t, each.Expr, m.scope).ElementIterator(); it.Next(); {
			key, value := it.Element()
			if key.Type() != cty.String {
				key = value
			}
			inner := m.scope.NewChild()
			inner.Variables = map[string]cty.Value{"each": object(map[string]cty.Value{"key": key, "value": value})}
			scopes = append(scopes, inner)
		}
	}
	for _, scope := range scopes {
		made, address := m.body(t, b.Body, scope), strings.Join(b.Labels, ".")
		m.made[address], m.each[address] = made, append(m.each[address], made)
		for _, inner := range b.Body.Blocks {
			if inner.Type == "dynamic" {
				m.dynamic(t, inner, scope)
				continue
			}
			if inner.Type == "lifecycle" {
				for _, precondition := range inner.Body.Blocks {
					m.condition(t, strings.Join(b.Labels, "."), precondition.Body)
				}
				continue
			}
			m.body(t, inner.Body, scope)
		}
	}
}

// dynamic evaluates the content of a dynamic block, once for each of its for_each.
func (m *module) dynamic(t *testing.T, b *hclsyntax.Block, scope *hcl.EvalContext) {
	t.Helper()
	for it := m.must(t, b.Body.Attributes["for_each"].Expr, scope).ElementIterator(); it.Next(); {
		key, value := it.Element()
		inner := scope.NewChild()
		inner.Variables = map[string]cty.Value{b.Labels[0]: object(map[string]cty.Value{"key": key, "value": value})}
		m.body(t, b.Body.Blocks[0].Body, inner)
	}
}

func (m *module) body(t *testing.T, body *hclsyntax.Body, scope *hcl.EvalContext) map[string]cty.Value {
	t.Helper()
	values := map[string]cty.Value{}
	for name, a := range body.Attributes {
		values[name] = m.must(t, a.Expr, scope)
	}
	return values
}

func (m *module) condition(t *testing.T, where string, body *hclsyntax.Body) {
	t.Helper()
	holds := m.must(t, body.Attributes["condition"].Expr, m.scope)
	m.conditions[fmt.Sprint(where, ", line ", body.SrcRange.Start.Line)] = holds.IsKnown() && holds.False()
}

func (m *module) must(t *testing.T, e hcl.Expression, scope *hcl.EvalContext) cty.Value {
	t.Helper()
	value, faults := e.Value(scope)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return value
}
