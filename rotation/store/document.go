package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/credproxy/credproxy/secrets"
)

// Document is the JSON of one version of a secret.
type Document struct {
	text *string // a pointer, because fmt prints unexported fields of nested values
}

// NewDocument makes a document of its text.
func NewDocument(text string) Document { return Document{&text} }

// Format prints no part of the document, for every verb.
func (d Document) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "document(redacted)") }

// MarshalJSON is Format.
func (d Document) MarshalJSON() ([]byte, error) { return []byte(`"document(redacted)"`), nil }

func (d Document) string() string {
	if d.text == nil {
		return ""
	}
	return *d.text
}

// Credential returns what the document says of a database user, and of where the
// database is. versionID goes into it. The errors are those of [secrets.ParseDocument].
func (d Document) Credential(versionID string) (*secrets.Credential, error) {
	c, err := secrets.ParseDocument([]byte(d.string()), secrets.Keys{})
	if err != nil {
		return nil, err
	}
	c.VersionID = versionID
	return c, nil
}

// Text returns the string under a key of the top level, "" if there is none.
func (d Document) Text(key string) string {
	var top map[string]any
	if json.Unmarshal(d.trimmed(), &top) != nil {
		return ""
	}
	s, _ := top[key].(string)
	return s
}

// SameLogin reports whether both name the same user and the same password.
func (d Document) SameLogin(other Document) bool {
	return d.Text("username") == other.Text("username") && d.Text("password") == other.Text("password")
}

// SameRest reports whether both have the same keys and values but for username and password.
func (d Document) SameRest(other Document) bool { return reflect.DeepEqual(d.rest(), other.rest()) }

func (d Document) rest() (top map[string]any) {
	dec := json.NewDecoder(bytes.NewReader(d.trimmed()))
	dec.UseNumber()
	_ = dec.Decode(&top) // nothing, if it is no object
	delete(top, "username")
	delete(top, "password")
	return top
}

// Keys returns how many keys the top level has.
func (d Document) Keys() int {
	var top map[string]json.RawMessage
	_ = json.Unmarshal(d.trimmed(), &top) // of none, if it is no object
	return len(top)
}

func (d Document) trimmed() []byte { return bytes.TrimPrefix([]byte(d.string()), []byte("\ufeff")) }

// With returns the document with other values under username and password, and
// everything else as it stood: the order of keys, numbers, space, keys nobody knows. A key
// that stands twice gets the value twice.
func (d Document) With(username, password string) (Document, error) {
	values := map[string]string{"username": username, "password": password}
	text := d.trimmed()
	dec := json.NewDecoder(bytes.NewReader(text))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return Document{}, errors.New("secret document: not a JSON object")
	}
	var out bytes.Buffer
	copied, replaced := int64(0), map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return Document{}, errors.New("secret document: not valid JSON")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return Document{}, errors.New("secret document: not valid JSON")
		}
		name, _ := key.(string)
		value, ours := values[name]
		if !ours {
			continue
		}
		end := dec.InputOffset()
		quoted, err := quote(value)
		if err != nil {
			return Document{}, err
		}
		out.Write(text[copied : end-int64(len(raw))])
		out.Write(quoted)
		copied, replaced[name] = end, true
	}
	if _, err := dec.Token(); err != nil {
		return Document{}, errors.New("secret document: not valid JSON")
	}
	if len(replaced) != len(values) {
		return Document{}, errors.New("secret document: username or password is missing")
	}
	out.Write(text[copied:])
	return NewDocument(out.String()), nil
}

// quote writes s as JSON, without the escapes that are for HTML.
func quote(s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
