package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDocument is the longest secret document in bytes: the quota of Secrets
// Manager for an encrypted secret value.
const MaxDocument = 65536

// Keys says where in a document the user name and the password are, as JSON
// pointers (RFC 6901), for one secret that holds many. Empty means "/username"
// and "/password".
type Keys struct {
	Username string
	Password string
}

// Validate reports whether both pointers are well formed. Its errors name the
// pointer, which comes from the configuration.
func (k Keys) Validate() error {
	for _, pointer := range []string{k.Username, k.Password} {
		if _, err := pointerTokens(pointer); err != nil {
			return err
		}
	}
	return nil
}

// ParseDocument reads the JSON of a database secret as Secrets Manager keeps it
// ("JSON structure of AWS Secrets Manager secrets" in its user guide): username
// and password, found by keys, and optionally engine, host, port (a number or a
// string) and dbname at the top level, which secrets managed by RDS lack. An
// engine it does not know is left empty, for the configuration to say; of a key
// that stands twice the last counts, as in the AWS SDKs' own languages. What people
// write by hand is taken where it can mean one thing only: a byte-order mark, space
// around host, port and engine, a host with its port.
//
// The caller sets VersionID. Errors have reason [Malformed]; they say what is
// wrong and where, and hold nothing of the document itself.
func ParseDocument(data []byte, keys Keys) (*Credential, error) {
	top, err := decodeObject(data)
	if err != nil {
		return nil, malformed(err)
	}
	username, err := required(top, "username", keys.Username)
	if err != nil {
		return nil, malformed(err)
	}
	password, err := required(top, "password", keys.Password)
	if err != nil {
		return nil, malformed(err)
	}
	endpoint, err := parseEndpoint(top)
	if err != nil {
		return nil, malformed(err)
	}
	c := NewCredential(username, password)
	c.Endpoint = endpoint
	return c, nil
}

func malformed(err error) error { return Errorf(Malformed, "secret document: %w", err) }

// decodeObject never passes on an error of encoding/json: those quote the input.
func decodeObject(data []byte) (map[string]any, error) {
	if len(data) > MaxDocument {
		return nil, fmt.Errorf("longer than %d bytes", MaxDocument)
	}
	if !utf8.Valid(data) { // encoding/json would quietly put U+FFFD into the password
		return nil, errors.New("not UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("not valid JSON (after byte %d)", decoder.InputOffset())
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	top, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return top, nil
}

// required is the string at pointer, or at the top level under name.
func required(top map[string]any, name, pointer string) (string, error) {
	value, label := top[name], name
	if pointer != "" {
		label = fmt.Sprintf("%s (at %s)", name, pointer)
		tokens, err := pointerTokens(pointer)
		if err != nil {
			return "", err
		}
		value = follow(top, tokens)
	}
	if value == nil {
		return "", fmt.Errorf("%s is missing", label)
	}
	s, err := text(value, label)
	if err == nil && s == "" {
		err = fmt.Errorf("%s is empty", label)
	}
	return s, err
}

func parseEndpoint(top map[string]any) (e Endpoint, err error) {
	var engine string
	for _, field := range []struct {
		name string
		to   *string
	}{{"engine", &engine}, {"host", &e.Host}, {"dbname", &e.Database}} {
		if *field.to, err = text(top[field.name], field.name); err != nil {
			return Endpoint{}, err
		}
	}
	if e.Engine, err = engineName(engine); err != nil {
		return Endpoint{}, err
	}
	if e.Port, err = portNumber(top["port"]); err != nil {
		return Endpoint{}, err
	}
	return e, e.splitHost()
}

// splitHost makes host and port of a host that is written with its port. Colons in an
// IPv6 address without brackets are its own.
func (e *Endpoint) splitHost() error {
	e.Host = strings.TrimSpace(e.Host)
	host, digits, err := net.SplitHostPort(e.Host)
	if err != nil {
		return nil
	}
	port, err := portNumber(digits)
	switch {
	case err != nil || port == 0:
		return errors.New("host ends in a port that is not a number from 1 to 65535")
	case e.Port != 0 && e.Port != port:
		return errors.New("host names another port than port does")
	}
	e.Host, e.Port = host, port
	return nil
}

// text is a value that must be a string if it is there. A NUL would end it early
// in both wire protocols, and let it name something else.
func text(value any, label string) (string, error) {
	if value == nil {
		return "", nil
	}
	s, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", label)
	}
	if strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%s contains a NUL character", label)
	}
	return s, nil
}

func portNumber(value any) (int, error) {
	var digits string
	switch v := value.(type) {
	case nil:
		return 0, nil
	case json.Number:
		digits = v.String()
	case string:
		if digits = strings.TrimSpace(v); digits == "" {
			return 0, nil
		}
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("port is not a number from 1 to 65535")
	}
	return int(port), nil
}

// foreignEngines begin the names of engines that AWS writes into secrets and
// credproxy cannot serve ("oracle-ee", "sqlserver-ex", "db2-se").
var foreignEngines = []string{"oracle", "sqlserver", "db2", "mongo", "docdb", "neptune"}

// engineName is the wire protocol of one of AWS's engine names, or empty.
func engineName(engine string) (string, error) {
	engine = strings.ToLower(strings.TrimSpace(engine))
	switch engine {
	case "postgres", "postgresql", "aurora-postgresql":
		return "postgres", nil
	case "mysql", "aurora-mysql", "aurora": // "aurora" is the MySQL 5.6 edition
		return "mysql", nil
	case "mariadb":
		return "mariadb", nil
	}
	for _, foreign := range foreignEngines {
		if strings.HasPrefix(engine, foreign) {
			return "", fmt.Errorf("engine is %s: credproxy serves postgres, mysql and mariadb", foreign)
		}
	}
	return "", nil
}

// EngineOf returns the engine that credproxy knows one of AWS's engine names by, "" if it
// serves none of that name.
func EngineOf(name string) string {
	engine, _ := engineName(name)
	return engine
}

// pointerTokens are the reference tokens of a JSON pointer (RFC 6901, section 3).
func pointerTokens(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("JSON pointer %q does not start with /", pointer)
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, token := range tokens {
		unescaped := strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if strings.Count(token, "~") != strings.Count(token, "~0")+strings.Count(token, "~1") {
			return nil, fmt.Errorf("JSON pointer %q: ~ must be written ~0", pointer)
		}
		tokens[i] = unescaped
	}
	return tokens, nil
}

// follow goes along tokens from value (RFC 6901, section 4); nil if nothing is there.
func follow(value any, tokens []string) any {
	for _, token := range tokens {
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			value = element(v, token)
		default:
			return nil
		}
	}
	return value
}

// element is list[token]: digits only, no leading zero.
func element(list []any, token string) any {
	i, err := strconv.ParseUint(token, 10, 31)
	if err != nil || strconv.FormatUint(i, 10) != token || i >= uint64(len(list)) {
		return nil
	}
	return list[i]
}
