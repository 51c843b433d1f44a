// Package text brings the bytes of a configuration file into the form that the YAML parser
// takes, whatever editor or shell wrote them.
//
// Invariant: what [Clean] returns is UTF-8 of characters that may stand in YAML, each line of
// which ends in \n. Of YAML itself the package knows the directive of its version alone.
package text

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"unicode/utf16"
	"unicode/utf8"
)

// version12 matches the directive of YAML 1.2 and what may stand before it.
var version12 = regexp.MustCompile(`\A((?:[ \t]*(?:#.*)?\n|%.*\n)*%YAML[ \t]+1\.)2`)

// MaxSize is the most that a file has, in bytes. It lies far above any configuration.
const MaxSize = 1 << 20

// Mistake is what no parser is to see, and where it stands, counted from 1.
type Mistake struct {
	Line, Column int
	Message      string
}

// Clean checks size and characters and returns the file as UTF-8, each line of which
// ends in \n. To a parser of YAML 1.1 its directive says so.
func Clean(data []byte) ([]byte, *Mistake) {
	if len(data) > MaxSize {
		return nil, &Mistake{1, 1, "the file is larger than 1 MiB; split it over several credproxy processes"}
	}
	text := bytes.TrimPrefix(fromUTF16(data), []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	line, column := 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, &Mistake{line, column, "not UTF-8; save the file as UTF-8"}
		case !printable(r):
			return nil, &Mistake{line, column, fmt.Sprintf("control character %U; remove it", r)}
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		i += size
	}
	return version12.ReplaceAll(text, []byte("${1}1")), nil // which the parser knows alone
}

// printable reports whether a character may stand in a YAML file (YAML 1.2, 5.1).
func printable(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == 0x85:
		return true
	case r < ' ', 0x7f <= r && r < 0xa0, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// fromUTF16 returns a file that begins with the byte-order mark of UTF-16, as some editors
// and shells write, in UTF-8, and any other as it is.
func fromUTF16(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case len(data) < 2 || len(data)%2 != 0:
		return data
	case data[0] == 0xff && data[1] == 0xfe:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff:
		order = binary.BigEndian
	default:
		return data
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}
