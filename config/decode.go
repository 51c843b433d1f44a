package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxDatabases is the most that one configuration holds.
const MaxDatabases = 1000

// Caps on what one file may hold once its aliases are followed.
const (
	maxValues = 200_000 // values visited, an alias counting each time it is used
	maxList   = 1000    // entries of a list that is not of databases
	maxKeys   = 1000    // of one mapping
)

// position is where something begins, counted from 1.
type position struct{ line, column int }

func positionOf(n *yaml.Node) position { return position{n.Line, n.Column} }

// decoder walks a YAML tree along the Go types of the schema, remembers where
// each key stands, and notes every error instead of stopping at the first.
type decoder struct {
	file   string
	errs   Errors
	at     map[string]position // by path: where the value stands, for a section its key
	failed map[string]bool     // paths with an error, and all paths above them
	values int
	cut    bool // more than a cap allows; the rest was not looked at
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, at: make(map[string]position), failed: make(map[string]bool)}
}

// fail notes an error at a node.
func (d *decoder) fail(path string, n *yaml.Node, format string, args ...any) {
	d.failAt(path, positionOf(n), format, args...)
}

func (d *decoder) failAt(path string, at position, format string, args ...any) {
	d.errs = append(d.errs, Error{
		File: d.file, Line: max(at.line, 1), Column: max(at.column, 1), Path: path, Message: fmt.Sprintf(format, args...),
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

// resolve follows an alias. It returns nil when it noted an error.
func (d *decoder) resolve(path string, n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		if n.Alias == undefined {
			d.fail(path, n, "no anchor &%s before this alias; define it or write the value out", printable(n.Value))
			return nil
		}
		n = n.Alias // never an alias itself: the parser refuses that
	}
	if n.Style&yaml.TaggedStyle != 0 && !fits(n.Tag, n.Kind) {
		d.fail(path, n, "the tag %s does not fit here; remove it", printable(n.Tag))
		return nil
	}
	return n
}

// count reports whether one more value may be visited.
func (d *decoder) count(n *yaml.Node) bool {
	if d.values++; d.values == maxValues+1 {
		d.cut = true
		d.fail("", n, "more than %d values, counting each use of an alias; make the file smaller", maxValues)
	}
	return d.values <= maxValues
}

// value decodes a node into v, whose type says what is wanted. numbers allows
// whole numbers where strings are wanted.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value, numbers bool) {
	if !d.count(n) {
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
	case reflect.Map:
		d.texts(path, n, v)
	default:
		d.at[path] = positionOf(n)
		if complaint := decodeScalar(n, v, numbers); complaint != "" {
			d.fail(path, n, "%s", complaint)
		}
	}
}

// section decodes a mapping into a struct.
func (d *decoder) section(path string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return // "tls:" with everything under it commented out
	}
	if !isMap(n) {
		d.fail(path, n, "wanted a section with keys, found %s; write one or more of: %s", kindOf(n), strings.Join(keysOf(v.Type()), ", "))
		return
	}
	d.keys(path, n, v, make(map[string]position), 0)
}

// keys decodes the keys of a mapping, then those of the mappings that its merge keys name
// and of theirs (https://yaml.org/type/merge.html): a key that was seen before goes first.
// merges counts the merge keys that lead here.
func (d *decoder) keys(path string, n *yaml.Node, v reflect.Value, seen map[string]position, merges int) {
	if len(n.Content) > 2*maxKeys {
		d.cut = true
		d.fail(path, n.Content[2*maxKeys], "more than %d keys in one mapping; remove some", maxKeys)
		return
	}
	var merged []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		key, value := d.resolve(path, n.Content[i]), n.Content[i+1]
		if key == nil {
			continue
		}
		if tagOf(key) == mergeTag {
			merged = append(merged, value)
			continue
		}
		name, ok := stringOf(key)
		if !ok {
			d.fail(path, key, "wanted the name of a key, found %s; valid here: %s", kindOf(key), strings.Join(keysOf(v.Type()), ", "))
			continue
		}
		at := positionOf(n.Content[i])
		if first, twice := seen[name]; twice {
			if merges == 0 {
				d.failAt(join(path, printable(name)), at, "this key is already at %d:%d; remove one of them", first.line, first.column)
			}
			continue
		}
		seen[name] = at
		field, numbers := fieldOf(v, name)
		if !field.IsValid() {
			d.failAt(join(path, printable(name)), at, "unknown key; the nearest valid key is %q", nearest(name, keysOf(v.Type())))
			continue
		}
		d.at[join(path, name)] = at
		d.value(join(path, name), value, field, numbers)
	}
	for _, value := range merged {
		d.merge(path, value, v, seen, merges+1)
	}
}

// merge decodes the keys of a mapping, or of a list of them, that stands at a merge key.
func (d *decoder) merge(path string, n *yaml.Node, v reflect.Value, seen map[string]position, merges int) {
	if !d.count(n) {
		return
	}
	if n = d.resolve(path, n); n == nil {
		return
	}
	switch {
	case merges > maxNesting: // or within itself
		if !d.failed[path] { // once
			d.fail(path, n, "%s", tooDeep)
		}
	case isMap(n):
		d.keys(path, n, v, seen, merges)
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			d.merge(path, item, v, seen, merges+1)
		}
	default:
		d.fail(path, n, "wanted a section to merge, found %s; write an alias such as *name", kindOf(n))
	}
}

// list decodes a sequence. A list of strings may also be written as one string.
func (d *decoder) list(path string, n *yaml.Node, v reflect.Value, numbers bool) {
	elem, limit := v.Type().Elem(), maxList
	if elem.Kind() == reflect.Struct {
		limit = MaxDatabases
	}
	if n.Kind != yaml.SequenceNode {
		d.notAList(path, n, v, numbers)
		return
	}
	if len(n.Content) > limit {
		d.fail(path, n, "%d entries; the most is %d", len(n.Content), limit)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.at[at] = positionOf(item)
		d.value(at, item, v.Index(i), numbers)
	}
}

func (d *decoder) notAList(path string, n *yaml.Node, v reflect.Value, numbers bool) {
	if v.Type() == reflect.TypeFor[[]Discover]() && isMap(n) {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.at[path+"[0]"] = positionOf(n)
		d.section(path+"[0]", n, v.Index(0))
		return
	}
	if v.Type().Elem().Kind() == reflect.Struct {
		if !isNull(n) {
			d.fail(path, n, "wanted a list, found %s; start each entry with \"- \"", kindOf(n))
		}
		return
	}
	d.at[path] = positionOf(n)
	v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	if complaint := decodeScalar(n, v.Index(0), numbers); complaint != "" {
		d.fail(path, n, "%s", complaint)
	}
}

// texts decodes a mapping whose keys are the user's own.
func (d *decoder) texts(path string, n *yaml.Node, v reflect.Value) {
	if !isMap(n) || len(n.Content) > 2*maxKeys {
		if !isNull(n) {
			d.fail(path, n, "wanted up to %d keys with a text each, found %s; write such as {team: shop}", maxKeys, kindOf(n))
		}
		return
	}
	all := make(map[string]string)
	for i := 0; i < len(n.Content); i += 2 {
		var pair [2]string
		for j := range pair {
			d.value(join(path, printable(n.Content[i].Value)), n.Content[i+j], reflect.ValueOf(&pair[j]).Elem(), true)
		}
		if _, twice := all[pair[0]]; twice {
			d.fail(join(path, printable(pair[0])), n.Content[i], "this key is there already; remove one of them")
		}
		all[pair[0]] = pair[1]
	}
	v.Set(reflect.ValueOf(all))
}
