package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The parser recurses once per nesting level and once per key of a block
// mapping and copies the whole path at every step; the lexer reads a line anew
// at every tab within quotes, and a text block for every blank line at its end;
// and a Go stack that overflows cannot be recovered from. These caps, held
// before either sees the file, keep time and memory small. They lie far above
// any configuration.
const (
	maxFile    = 1 << 20 // bytes
	maxLine    = 4096    // characters
	maxBlank   = 100     // blank lines in a row
	maxTokens  = 200_000
	maxNesting = 32   // of [ and {, and of "- - -" on one line
	maxKeys    = 1000 // of one block mapping
	maxAnchors = 1000
)

const emptyFile = "the file is empty; write at least one entry under databases"

// syntaxError is an error of the file as a whole.
func syntaxError(file string, line, column int, format string, args ...any) Errors {
	return Errors{{File: file, Line: max(line, 1), Column: max(column, 1), Message: fmt.Sprintf(format, args...)}}
}

// parseYAML turns a file into its one document's root node.
func parseYAML(file string, data []byte) (root ast.Node, err error) {
	text, err := cleanText(file, data)
	if err != nil {
		return nil, err
	}
	defer func() {
		if recover() != nil { // a defect of the parser must not end the process
			root, err = nil, syntaxError(file, 1, 1, "the YAML parser failed on this file; write it in a plainer form")
		}
	}()
	tokens := lexer.Tokenize(text)
	if err := checkTokens(file, tokens); err != nil {
		return nil, err
	}
	doc, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // the decoder reports duplicates
	if err != nil {
		return nil, parserError(file, err)
	}
	if len(doc.Docs) == 0 || doc.Docs[0].Body == nil {
		return nil, syntaxError(file, 1, 1, emptyFile)
	}
	return doc.Docs[0].Body, nil
}

// parserError keeps the parser's message and position but not the excerpt of
// the file that its Error method adds.
func parserError(file string, err error) Errors {
	var at yaml.Error
	if !errors.As(err, &at) {
		return syntaxError(file, 1, 1, "not valid YAML; check indentation, quotes and brackets")
	}
	line, column := 1, 1
	if t := at.GetToken(); t != nil && t.Position != nil {
		line, column = t.Position.Line, t.Position.Column
	}
	return syntaxError(file, line, column, "not valid YAML: %s; check indentation, quotes and brackets", at.GetMessage())
}

// cleanText checks size and characters and makes every line end in \n, because
// the lexer counts a line twice where a comment ends in \r\n.
func cleanText(file string, data []byte) (string, error) {
	if len(data) > maxFile {
		return "", syntaxError(file, 1, 1, "the file is larger than 1 MiB; split it over several credproxy processes")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	text := strings.ReplaceAll(string(data), "\r", "\n")
	line, column, blank := 1, 1, 0
	for i, r := range text {
		complaint := ""
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			complaint = "not UTF-8; save the file as UTF-8"
		case r < ' ' && r != '\t' && r != '\n' || r == 0x7f:
			complaint = fmt.Sprintf("control character %U; remove it", r)
		case column > maxLine && r != '\n':
			complaint = fmt.Sprintf("a line of more than %d characters; break it", maxLine)
		case blank > maxBlank:
			complaint = fmt.Sprintf("more than %d blank lines in a row; remove some", maxBlank)
		}
		if complaint != "" {
			return "", syntaxError(file, line, column, "%s", complaint)
		}
		column++
		switch r {
		case '\n':
			line, column, blank = line+1, 1, blank+1
		case ' ', '\t':
		default:
			blank = -1 // the newline that ends this line brings it to 0
		}
	}
	return text, nil
}

// checkTokens holds the caps, and refuses what a configuration does not need.
func checkTokens(file string, tokens token.Tokens) error {
	if len(tokens) > maxTokens {
		return syntaxError(file, 1, 1, "the file holds more than %d words and signs; make it smaller", maxTokens)
	}
	var shape nesting
	started, anchors := false, 0
	for i, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		complaint := unsupported(t.Type)
		switch t.Type {
		case token.DocumentHeaderType:
			if started {
				complaint = "a second YAML document; keep one document in a file"
			}
		case token.AnchorType:
			if anchors++; anchors > maxAnchors {
				complaint = fmt.Sprintf("more than %d anchors; use fewer", maxAnchors)
			}
		}
		if complaint == "" {
			complaint = shape.next(tokens, i)
		}
		if complaint != "" {
			return syntaxError(file, t.Position.Line, t.Position.Column, "%s", complaint)
		}
		started = true
	}
	return nil
}

func unsupported(t token.Type) string {
	switch t {
	case token.TagType:
		return "YAML tags are not supported; remove the word that starts with !"
	case token.MappingKeyType:
		return "YAML's ? keys are not supported; write key: value"
	case token.DirectiveType:
		return "YAML directives are not supported; remove the line that starts with %"
	case token.MergeKeyType:
		return "YAML merge keys are not supported; write the keys out, or use an alias for a whole section"
	}
	return ""
}

// nesting follows how deep and how wide the tokens nest.
type nesting struct {
	flow   int     // open [ and {
	line   int     // where dashes were last seen
	dashes int     // on that line
	blocks []block // open block mappings, outermost first
}

type block struct{ column, keys int }

// next takes tokens[i] and returns a complaint, or "".
func (n *nesting) next(tokens token.Tokens, i int) string {
	t := tokens[i]
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.flow++
	case token.MappingEndType, token.SequenceEndType:
		n.flow = max(n.flow-1, 0)
	case token.SequenceEntryType:
		if n.line != t.Position.Line {
			n.line, n.dashes = t.Position.Line, 0
		}
		n.dashes++
		n.leave(t.Position.Column)
	case token.MappingValueType:
		if i > 0 && n.flow == 0 && n.key(tokens[i-1].Position.Column) > maxKeys {
			return fmt.Sprintf("more than %d keys in one mapping; remove some", maxKeys)
		}
	}
	if n.flow > maxNesting || n.dashes > maxNesting {
		return fmt.Sprintf("nested deeper than %d levels; the schema needs fewer", maxNesting)
	}
	return ""
}

// key counts a key at a column and returns how many its mapping has.
func (n *nesting) key(column int) int {
	n.leave(column)
	if len(n.blocks) == 0 || n.blocks[len(n.blocks)-1].column < column {
		n.blocks = append(n.blocks, block{column: column})
	}
	top := &n.blocks[len(n.blocks)-1]
	top.keys++
	return top.keys
}

// leave closes the mappings right of a column.
func (n *nesting) leave(column int) {
	for len(n.blocks) > 0 && n.blocks[len(n.blocks)-1].column > column {
		n.blocks = n.blocks[:len(n.blocks)-1]
	}
}
