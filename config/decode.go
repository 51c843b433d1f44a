package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Caps on what one file may hold once its aliases are followed.
const (
	maxValues    = 200_000 // values visited, an alias counting each time it is used
	maxDatabases = 1000
	maxList      = 1000 // entries of any other list
)

// decoder walks a YAML tree along the Go types of the schema, remembers where
// each key stands, and notes every error instead of stopping at the first.
type decoder struct {
	file    string
	errs    Errors
	at      map[string]token.Position // by path: where the value stands, for a section its key
	failed  map[string]bool           // paths with an error, and all paths above them
	anchors map[string]*ast.AnchorNode
	values  int
}

func newDecoder(file string) *decoder {
	return &decoder{
		file:    file,
		at:      make(map[string]token.Position),
		failed:  make(map[string]bool),
		anchors: make(map[string]*ast.AnchorNode),
	}
}

// Visit collects the anchors, for ast.Walk.
func (d *decoder) Visit(n ast.Node) ast.Visitor {
	a, ok := n.(*ast.AnchorNode)
	if !ok {
		return d
	}
	name := a.Name.GetToken().Value
	if _, twice := d.anchors[name]; twice {
		d.fail("", a, "anchor %q is defined twice; use another name", shorten(name))
	} else {
		d.anchors[name] = a
	}
	return d
}

// fail notes an error at a node.
func (d *decoder) fail(path string, n ast.Node, format string, args ...any) {
	d.failAt(path, position(n), format, args...)
}

func (d *decoder) failAt(path string, at token.Position, format string, args ...any) {
	d.errs = append(d.errs, Error{
		File: d.file, Line: max(at.Line, 1), Column: max(at.Column, 1), Path: path, Message: fmt.Sprintf(format, args...),
	})
	for {
		d.failed[path] = true
		if path == "" {
			return
		}
		path = parent(path)
	}
}

// parent cuts the last ".key" or "[index]" off a path.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// position is where a reader sees a node begin. The token of a block mapping
// is the colon after its first key.
func position(n ast.Node) token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return token.Position{Line: 1, Column: 1}
	}
	return *n.GetToken().Position
}

// resolve takes anchors off a node and follows an alias. It returns nil when it
// noted an error.
func (d *decoder) resolve(path string, n ast.Node) ast.Node {
	switch v := n.(type) {
	case *ast.AnchorNode:
		return v.Value // never an alias nor another anchor: the parser refuses that
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		a, ok := d.anchors[name]
		if !ok || !before(position(a), position(v)) {
			d.fail(path, v, "no anchor &%s before this alias; define it or write the value out", printable(name))
			return nil
		}
		return a.Value
	}
	return n
}

func before(a, b token.Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}

// value decodes a node into v, whose type says what is wanted. numbers allows
// whole numbers where strings are wanted.
func (d *decoder) value(path string, n ast.Node, v reflect.Value, numbers bool) {
	if d.values++; d.values > maxValues {
		if d.values == maxValues+1 {
			d.fail("", n, "more than %d values, counting each use of an alias; make the file smaller", maxValues)
		}
		return
	}
	if n = d.resolve(path, n); n == nil {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, n, v.Elem(), false)
	case reflect.Struct:
		d.section(path, n, v)
	case reflect.Slice:
		d.list(path, n, v, numbers)
	default:
		d.at[path] = position(n)
		if complaint := decodeScalar(n, v, numbers); complaint != "" {
			d.fail(path, n, "%s", complaint)
		}
	}
}

// section decodes a mapping into a struct.
func (d *decoder) section(path string, n ast.Node, v reflect.Value) {
	if isNull(n) {
		return // "tls:" with everything under it commented out
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		d.fail(path, n, "wanted a section with keys, found %s; write one or more of: %s", kindOf(n), strings.Join(keysOf(v.Type()), ", "))
		return
	}
	seen := make(map[string]token.Position)
	for entries := m.MapRange(); entries.Next(); {
		key, ok := entries.Key().(*ast.StringNode)
		if !ok {
			d.fail(path, entries.Key(), "wanted the name of a key, found %s; valid here: %s", kindOf(entries.Key()), strings.Join(keysOf(v.Type()), ", "))
			continue
		}
		at, name := position(key), key.Value
		if first, twice := seen[name]; twice {
			d.failAt(join(path, printable(name)), at, "this key is already at %d:%d; remove one of them", first.Line, first.Column)
			continue
		}
		seen[name] = at
		field, numbers := fieldOf(v, name)
		if !field.IsValid() {
			d.failAt(join(path, printable(name)), at, "unknown key; the nearest valid key is %q", nearest(name, keysOf(v.Type())))
			continue
		}
		d.at[join(path, name)] = at
		d.value(join(path, name), entries.Value(), field, numbers)
	}
}

// list decodes a sequence. A list of strings may also be written as one string.
func (d *decoder) list(path string, n ast.Node, v reflect.Value, numbers bool) {
	elem, limit := v.Type().Elem(), maxList
	if elem.Kind() == reflect.Struct {
		limit = maxDatabases
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.notAList(path, n, v, numbers)
		return
	}
	if len(seq.Values) > limit {
		d.fail(path, n, "%d entries; the most is %d", len(seq.Values), limit)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.at[at] = position(item)
		d.value(at, item, v.Index(i), numbers)
	}
}

func (d *decoder) notAList(path string, n ast.Node, v reflect.Value, numbers bool) {
	if v.Type().Elem().Kind() == reflect.Struct {
		if !isNull(n) {
			d.fail(path, n, "wanted a list, found %s; start each entry with \"- \"", kindOf(n))
		}
		return
	}
	d.at[path] = position(n)
	v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	if complaint := decodeScalar(n, v.Index(0), numbers); complaint != "" {
		d.fail(path, n, "%s", complaint)
	}
}
