package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/credproxy/credproxy/config/text"
)

// Caps on a file before its aliases are followed. They lie far above any
// configuration, and keep time and memory small.
const (
	maxNesting = 32  // of [ and {, and of indentation
	maxGlued   = 100 // comments without a space before them, each of which costs a pass
)

const emptyFile = "the file is empty; write at least one entry under databases"

// syntaxError is an error of the file as a whole.
func syntaxError(file string, line, column int, format string, args ...any) Errors {
	return Errors{{File: file, Line: max(line, 1), Column: max(column, 1), Message: fmt.Sprintf(format, args...)}}
}

// parseYAML turns a file into its one document's root node.
func parseYAML(file string, data []byte) (root *yaml.Node, err error) {
	text, mistake := text.Clean(data)
	if mistake != nil {
		return nil, syntaxError(file, mistake.Line, mistake.Column, "%s", mistake.Message)
	}
	defer func() {
		if recover() != nil { // a defect of the parser must not end the process
			root, err = nil, syntaxError(file, 1, 1, "the YAML parser failed on this file; write it in a plainer form")
		}
	}()
	var documents []yaml.Node
	for range maxGlued {
		if documents, err = compose(text); !separate(&text, err) {
			break
		}
	}
	switch {
	case err != nil:
		return nil, parserError(file, text, err)
	case len(documents) == 0:
		return nil, syntaxError(file, 1, 1, emptyFile)
	case len(documents) > 1:
		return nil, syntaxError(file, documents[1].Line, documents[1].Column, "a second YAML document; keep one document in a file")
	}
	if root = documents[0].Content[0]; root.Kind != yaml.MappingNode {
		if err := otherLanguage(file, text); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// compose parses the first two documents of text.
func compose(text []byte) (documents []yaml.Node, err error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(anchors{}, depth{}))
	if err != nil {
		return nil, err // of the options
	}
	for len(documents) < 2 {
		var document yaml.Node
		if err := loader.Load(&document); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	return documents, nil
}

// separate puts a space before a comment that the parser refused for the lack of one, as
// libyaml does not. No position changes but those in the comment. It reports whether err
// was that.
func separate(text *[]byte, err error) bool {
	at, ok := errors.AsType[*yaml.LoadError](err)
	if !ok || at.Message != "found a comment without preceding whitespace" {
		return false
	}
	i := 0
	for range at.Mark.Index { // of characters
		_, size := utf8.DecodeRune((*text)[i:])
		i += size
	}
	if !bytes.HasPrefix((*text)[i:], []byte("#")) {
		return false
	}
	*text = slices.Insert(*text, i, ' ')
	return true
}

// notYAML matches what comes before the first line of TOML or INI, and that line: a
// section in brackets, or key = value.
var notYAML = regexp.MustCompile(`\A((?:[ \t]*(?:[#;].*)?\n)*)[ \t]*(?:\[\[?[\w. -]+\]\]?|[\w.-]+[ \t]*=.*)[ \t]*(?:\n|\z)`)

// otherLanguage returns an error if the file is in a language that is known well enough
// to say so.
func otherLanguage(file string, text []byte) error {
	match := notYAML.FindSubmatch(text)
	if match == nil {
		return nil
	}
	return syntaxError(file, bytes.Count(match[1], []byte("\n"))+1, 1, "this looks like TOML or INI; write YAML: key: value, and - before each entry of a list")
}

// parserError says what the parser says, and where.
func parserError(file string, text []byte, err error) error {
	at, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return syntaxError(file, 1, 1, "not valid YAML; check indentation, quotes and brackets")
	}
	line, column := at.Mark.Line, at.Mark.Column
	if own, ok := errors.AsType[complaint](err); ok {
		return syntaxError(file, line, column, "%s", own)
	}
	if at.Message == tooDeep.Error() { // the parser does not wrap it
		return syntaxError(file, line, column, "%s", tooDeep)
	}
	if err := otherLanguage(file, text); err != nil {
		return err
	}
	what := strings.TrimSpace(at.Message + " " + at.ContextMsg)
	if from := at.ContextMark; from.Line > 0 && from != at.Mark {
		what += fmt.Sprintf(" (from %d:%d)", from.Line, from.Column)
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if line > len(lines) { // the parser adds a line
		line = len(lines)
		column = utf8.RuneCountInString(lines[line-1]) + 1
	} else if line > 0 && strings.HasPrefix(strings.TrimLeft(lines[line-1], " "), "\t") {
		what = "a tab indents the line"
	}
	return syntaxError(file, line, column, "not valid YAML: %s; check indentation, quotes and brackets", what)
}

// complaint is an error of ours that the parser passes on.
type complaint string

func (c complaint) Error() string { return string(c) }

// depth limits how deep a file nests: the parser recurses.
type depth struct{}

var tooDeep = complaint(fmt.Sprintf("nested deeper than %d levels; the schema needs fewer", maxNesting))

// CheckDepth implements yaml.LoaderLimitsPlugin.
func (depth) CheckDepth(levels int, _ *yaml.DepthContext) error {
	if levels > maxNesting {
		return tooDeep
	}
	return nil
}

// CheckAlias implements yaml.LoaderLimitsPlugin. The decoder counts what aliases stand for.
func (depth) CheckAlias(_, _ int) error { return nil }
