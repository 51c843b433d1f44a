package config

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"unicode/utf16"
	"unicode/utf8"
)

// version12 matches the directive of YAML 1.2 and what may stand before it.
var version12 = regexp.MustCompile(`\A((?:[ \t]*(?:#.*)?\n|%.*\n)*%YAML[ \t]+1\.)2`)

// cleanText checks size and characters and returns the file as UTF-8, each line of which
// ends in \n. To a parser of YAML 1.1 its directive says so.
func cleanText(file string, data []byte) ([]byte, error) {
	if len(data) > maxFile {
		return nil, syntaxError(file, 1, 1, "the file is larger than 1 MiB; split it over several credproxy processes")
	}
	text := bytes.TrimPrefix(fromUTF16(data), []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	line, column := 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, syntaxError(file, line, column, "not UTF-8; save the file as UTF-8")
		case !printableYAML(r):
			return nil, syntaxError(file, line, column, "control character %U; remove it", r)
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		i += size
	}
	return version12.ReplaceAll(text, []byte("${1}1")), nil // which the parser knows alone
}

// printableYAML reports whether a character may stand in a YAML file (YAML 1.2, 5.1).
func printableYAML(r rune) bool {
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
