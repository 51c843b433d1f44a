package config

import (
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// The schema is the exported structs themselves; these functions read it from
// their yaml tags.

// notInFile is the key of a field that no file sets.
const notInFile = "-"

// keysOf returns the keys of a section, in the order of its struct.
func keysOf(section reflect.Type) []string {
	var keys []string
	for i := range section.NumField() {
		if key, _ := yamlKey(section.Field(i)); key != notInFile {
			keys = append(keys, key)
		}
	}
	return keys
}

// fieldOf returns the field behind a key, the zero Value if there is none, and
// whether it takes numbers for strings.
func fieldOf(section reflect.Value, name string) (reflect.Value, bool) {
	for i := range section.NumField() {
		if key, numbers := yamlKey(section.Type().Field(i)); key == name && key != notInFile {
			return section.Field(i), numbers
		}
	}
	return reflect.Value{}, false
}

func yamlKey(f reflect.StructField) (key string, numbers bool) {
	key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key, option == "numbers"
}

// nearest returns the key that takes the fewest edits to reach from name.
func nearest(name string, keys []string) string {
	name = strings.ToLower(shorten(name))
	best, least := "", -1
	for _, key := range keys {
		if n := distance(name, key); least < 0 || n < least {
			best, least = key, n
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: edits from a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edits := diagonal
			if a[i] != b[j] {
				edits++
			}
			diagonal = row[j+1]
			row[j+1] = min(edits, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// shorten cuts a key or value for a message.
func shorten(s string) string {
	const most = 64
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "..."
}

// printable is a key as a path shows it.
func printable(key string) string {
	key = shorten(key)
	for _, r := range key {
		if !unicode.IsPrint(r) {
			return strconv.Quote(key)
		}
	}
	return key
}
