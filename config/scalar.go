package config

import (
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// maxString bounds any one value, in bytes; no path, name or ARN comes near.
const maxString = 4096

// decodeScalar sets v, a string, bool, int or time.Duration, from a node. It
// returns a complaint, or "". Values are not quoted: this one may be anything.
func decodeScalar(n ast.Node, v reflect.Value, numbers bool) (complaint string) {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return decodeDuration(n, v)
	case v.Kind() == reflect.Int:
		return decodeInt(n, v)
	case v.Kind() == reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return "wanted true or false, found " + kindOf(n)
		}
		v.SetBool(b.Value)
		return ""
	}
	return decodeString(n, v, numbers)
}

func decodeString(n ast.Node, v reflect.Value, numbers bool) string {
	s, ok := stringOf(n)
	if number, isNumber := n.(*ast.IntegerNode); isNumber && numbers {
		s, ok = number.Token.Value, true
	}
	switch {
	case !ok && isNull(n):
		return `wanted a string, found nothing; write "" or remove the key`
	case !ok && isScalar(n):
		return fmt.Sprintf("wanted a string, found %s; put it in quotes", kindOf(n))
	case !ok && isMap(n): // the parser splits [127.0.0.1:80] within braces at the colon
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
func decodeInt(n ast.Node, v reflect.Value) string {
	const wanted = "wanted a whole number"
	text := ""
	switch node := n.(type) {
	case *ast.IntegerNode:
		text = node.Token.Value
	case *ast.StringNode: // also what the parser makes of a number beyond 64 bits
		if _, err := strconv.Atoi(node.Value); err == nil {
			return wanted + ", found a string; remove the quotes"
		}
		return wanted + ", found a string"
	default:
		return wanted + ", found " + kindOf(n)
	}
	number, err := strconv.Atoi(text)
	if err != nil || strconv.Itoa(number) != text {
		return wanted + " in plain decimal; write it without prefix, sign or underscore"
	}
	v.SetInt(int64(number))
	return ""
}

func decodeDuration(n ast.Node, v reflect.Value) string {
	if number, ok := n.(*ast.IntegerNode); ok {
		if number.Token.Value == "0" {
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

func stringOf(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	}
	return "", false
}

func isNull(n ast.Node) bool {
	_, ok := n.(*ast.NullNode)
	return ok
}

func isMap(n ast.Node) bool {
	_, ok := n.(ast.MapNode)
	return ok
}

func isScalar(n ast.Node) bool {
	_, ok := n.(ast.ScalarNode)
	return ok
}

// kindOf names what stands in the file.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "a string"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a section with keys"
	}
	return "something else"
}
