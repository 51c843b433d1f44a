package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// maxString bounds any one value, in bytes; no path, name or ARN comes near.
const maxString = 4096

// decodeScalar sets v, a string, bool, int or time.Duration, from a node. It
// returns a complaint, or "". Values are not quoted: this one may be anything.
func decodeScalar(n *yaml.Node, v reflect.Value, numbers bool) (complaint string) {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return decodeDuration(n, v)
	case v.Kind() == reflect.Int:
		return decodeInt(n, v)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(n.Value))
		if tagOf(n) != boolTag || err != nil {
			return "wanted true or false, found " + kindOf(n)
		}
		v.SetBool(b)
		return ""
	}
	return decodeString(n, v, numbers)
}

func decodeString(n *yaml.Node, v reflect.Value, numbers bool) string {
	s, ok := stringOf(n)
	if tagOf(n) == intTag && numbers {
		s, ok = n.Value, true
	}
	switch {
	case !ok && isNull(n):
		return `wanted a string, found nothing; write "" or remove the key`
	case !ok && n.Kind == yaml.ScalarNode:
		return fmt.Sprintf("wanted a string, found %s; put it in quotes", kindOf(n))
	case !ok && isMap(n): // such as a: b in a list
		return "wanted a string, found a section with keys; put a text with a colon in quotes"
	case !ok:
		return "wanted a string, found " + kindOf(n)
	case len(s) > maxString:
		return fmt.Sprintf("longer than %d bytes; shorten it", maxString)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("holds the unprintable character %U; remove it", r)
		}
	}
	v.SetString(s)
	return ""
}

// decodeInt takes plain decimal only: 010 means 8 to some readers of YAML and
// 10 to others.
func decodeInt(n *yaml.Node, v reflect.Value) string {
	const wanted = "wanted a whole number"
	text, isString := stringOf(n)
	if isString {
		if _, err := strconv.Atoi(text); err == nil {
			return wanted + ", found a string; remove the quotes"
		}
	}
	if tagOf(n) != intTag {
		return wanted + ", found " + kindOf(n)
	}
	number, err := strconv.Atoi(n.Value)
	if err != nil || strconv.Itoa(number) != n.Value {
		return wanted + " in plain decimal; write it without prefix, sign or underscore"
	}
	v.SetInt(int64(number))
	return ""
}

func decodeDuration(n *yaml.Node, v reflect.Value) string {
	if tagOf(n) == intTag {
		if n.Value == "0" {
			v.SetInt(0)
			return ""
		}
		return "wanted a duration, found a number without a unit; write one such as 90s, 5m or 1h"
	}
	s, ok := stringOf(n)
	if !ok {
		return fmt.Sprintf("wanted a duration, found %s; write one such as 90s, 5m or 1h", kindOf(n))
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return "not a duration; write one such as 90s, 5m or 1h"
	}
	v.SetInt(int64(d))
	return ""
}

// Tags that say what a scalar is. The parser gives one to each (YAML 1.2, 10.3).
const (
	nullTag  = "!!null"
	boolTag  = "!!bool"
	intTag   = "!!int"
	floatTag = "!!float"
	strTag   = "!!str"
	timeTag  = "!!timestamp" // a text, here
	mergeTag = "!!merge"     // <<, a text too where it is no key
)

// tagOf returns a scalar's tag, and "" for what is none.
func tagOf(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.ShortTag()
}

// fits reports whether a tag that stands in the file says what the parser knows anyway, or
// how to read a scalar.
func fits(tag string, kind yaml.Kind) bool {
	switch tag {
	case nullTag, boolTag, intTag, floatTag, strTag, timeTag, mergeTag:
		return kind == yaml.ScalarNode
	case "!!seq":
		return kind == yaml.SequenceNode
	case "!!map":
		return kind == yaml.MappingNode
	}
	return false
}

func stringOf(n *yaml.Node) (string, bool) {
	switch tagOf(n) {
	case strTag, timeTag, mergeTag:
		return n.Value, true
	}
	return "", false
}

func isNull(n *yaml.Node) bool { return tagOf(n) == nullTag }

func isMap(n *yaml.Node) bool { return n != nil && n.Kind == yaml.MappingNode }

// kindOf names what stands in the file.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a section with keys"
	}
	switch tagOf(n) {
	case nullTag:
		return "nothing"
	case boolTag:
		return "true or false"
	case intTag, floatTag:
		return "a number"
	}
	return "a string"
}
