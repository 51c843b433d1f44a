package config_test

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/credproxy/credproxy/config"
)

// plainly is a configuration in YAML as most people write it.
const plainly = `log:
  level: warn
databases:
  - name: orders
    engine: postgres
    listen:
      - 127.0.0.1:5432
      - unix:/run/x
    host: db.example
    access:
      databases: [orders, stock]
      allow_remote: true
    limits:
      max_connections: 7
      dial_timeout: 1s
    credentials:
      secrets_manager:
        secret_id: arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  - name: stock
    engine: mysql
    host: db.example
    listen: "[::1]:3306"
    limits:
      max_connections: 7
      dial_timeout: 1s
    credentials:
      env: {username: STOCK_USER, password: STOCK_PASSWORD}
`

// TestSpellings: whatever way YAML has to say the same, it is the same configuration.
// libyaml takes each of these.
func TestSpellings(t *testing.T) {
	want := mustParse(t, plainly)
	const (
		arn  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"
		flow = `{log: {level: warn}, databases: [{name: orders, engine: postgres, listen: [127.0.0.1:5432, "unix:/run/x"], host: db.example, ` +
			`access: {databases: [orders, stock], allow_remote: true}, limits: {max_connections: 7, dial_timeout: 1s}, ` +
			`credentials: {secrets_manager: {secret_id: ` + arn + `}}}, {name: stock, engine: mysql, host: db.example, listen: "[::1]:3306", ` +
			`limits: {max_connections: 7, dial_timeout: 1s}, credentials: {env: {username: STOCK_USER, password: STOCK_PASSWORD}}}]}`
		json = `{"log":{"level":"warn"},"databases":[{"name":"orders","engine":"postgres","listen":["127.0.0.1:5432","unix:\/run\/x"],` +
			`"host":"db.example","access":{"databases":["orders","stock"],"allow_remote":true},"limits":{"max_connections":7,"dial_timeout":"1s"},` +
			`"credentials":{"secrets_manager":{"secret_id":"` + arn + `"}}},{"name":"stock","engine":"mysql","host":"db.example","listen":"[::1]:3306",` +
			`"limits":{"max_connections":7,"dial_timeout":"1s"},"credentials":{"env":{"username":"STOCK_USER","password":"STOCK_PASSWORD"}}}]}`
	)
	replace := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(plainly, pairs[i]) {
				t.Fatalf("nothing to replace: %q", pairs[i])
			}
		}
		return strings.NewReplacer(pairs...).Replace(plainly)
	}
	limits := "    limits:\n      max_connections: 7\n      dial_timeout: 1s\n"
	first := strings.Index(plainly, limits)
	rest := plainly[first+len(limits):]
	second := func(text string) string { return strings.Replace(rest, limits, text, 1) }
	for name, text := range map[string]string{
		// Flow style.
		"braces":                     flow,
		"braces over lines":          strings.NewReplacer("{", "{\n  ", ", ", " ,\n  # a comment\n  ", "}", "\n}").Replace(flow),
		"no spaces":                  strings.ReplaceAll(flow, ", ", ","),
		"commas at the end":          strings.NewReplacer("[::1]", "[::1]", "]", ",]", "}", ",}").Replace(flow),
		"JSON":                       json,
		"JSON over lines, with tabs": strings.NewReplacer("{", "{\n\t", ",", ",\n\t\t", "}", "\n\t}").Replace(json),
		"JSON on a long line":        strings.ReplaceAll(json, ",", ","+strings.Repeat(" ", 500)),
		"a list in brackets":         replace("listen:\n      - 127.0.0.1:5432\n      - unix:/run/x\n", "listen: [127.0.0.1:5432, unix:/run/x]\n"),
		"an entry in braces":         replace("env: {username: STOCK_USER, password: STOCK_PASSWORD}", "{env: {username: STOCK_USER, password: STOCK_PASSWORD}}"),

		// Scalars.
		"single quotes":    replace("postgres", "'postgres'", "db.example", "'db.example'", "1s", "'1s'"),
		"double quotes":    replace("postgres", `"postgres"`, "db.example", `"\x64\u0062.\U00000065xample"`, "1s", `"1s"`, "unix:/run/x", `"unix:\/run\/x"`),
		"quoted keys":      replace("- name:", `- "name":`, "engine:", "'engine':", "limits:", `"limits" :`),
		"quotes on lines":  replace("STOCK_USER", "\"STOCK_\\\n        USER\""),
		"a folded text":    replace("host: db.example\n", "host: >-\n      db.example\n\n"),
		"a literal text":   replace("host: db.example\n", "host: |2-\n      db.example\n    # a comment\n", "127.0.0.1:5432", "|-\n        127.0.0.1:5432"),
		"True":             replace("true", "True"),
		"TRUE":             replace("true", "TRUE"),
		"on the next line": replace("host: db.example", "host:\n      db.example"),

		// Blanks, comments, ends of lines.
		"comments":                 replace("log:\n", "# one\nlog: # two\n# three\n", "1s\n", "1s # of a second\n", "- unix", "# here\n      - unix", "true\n", "true   # \"quoted\": [text]\n\n\n"),
		"comments without a space": strings.NewReplacer("[::1]:3306\"", "[::1]:3306\"# ]", "]", "]#", "}", "}#", "\n", "\n#\n").Replace(replace("[orders", "[#\n        orders", "log:\n", "# é\nlog:\n")),
		"no end of the last line":  strings.TrimSuffix(plainly, "\n"),
		"blanks at ends":           strings.ReplaceAll(plainly, "\n", " \t \n"),
		"blank lines":              replace("databases:\n", strings.Repeat("\n", 5000)+"databases:\n"),
		"tabs before values":       replace("host: ", "host:\t", "1s\n", "1s\t# tab\n"),
		"lists not indented":       replace("      - 127.0.0.1:5432\n      - unix", "    - 127.0.0.1:5432\n    - unix"),
		"deeper indentation":       replace("      - 127.0.0.1:5432\n      - unix", "             - 127.0.0.1:5432\n             - unix"),
		"a dash alone":             replace("  - name: orders\n", "  -\n    name: orders\n"),
		"CRLF":                     strings.ReplaceAll(replace("1s\n", "1s # c\n", "host: db.example\n", "host: >-\n      db.example\n"), "\n", "\r\n"),
		"CR":                       strings.ReplaceAll(plainly, "\n", "\r"),
		"byte-order mark":          "\ufeff" + plainly,
		"UTF-16, little-endian":    encodeUTF16(plainly, binary.LittleEndian),
		"UTF-16, big-endian":       encodeUTF16(plainly, binary.BigEndian),

		// Documents.
		"document marks":   "---\n" + plainly + "...\n",
		"YAML 1.1":         "%YAML 1.1\n---\n" + plainly,
		"YAML 1.2":         "# a comment\n%YAML 1.2\n---\n" + plainly,
		"a handle of tags": "%TAG !y! tag:yaml.org,2002:\n---\n" + replace("postgres", "!y!str postgres"),

		// Tags.
		"tags": replace("postgres", "!!str postgres", "max_connections: 7", "max_connections: !!int '7'", "true", "!!bool true", "[orders", "!!seq [orders",
			"{username", "!!map {username", "db.example", "! db.example", "127.0.0.1:5432", "!<tag:yaml.org,2002:str> 127.0.0.1:5432"),

		// Keys with a question mark.
		"question marks": replace("log:\n  level: warn\n", "? log\n: ? level\n  : warn\n", "{username: STOCK_USER,", "{? username : STOCK_USER,"),

		// Anchors and aliases.
		"an alias for a section": plainly[:first] + strings.Replace(limits, "limits:", "limits: &l", 1) + second("    limits: *l\n"),
		"an alias for a text":    replace("- name: orders", "- name: &o-1 orders", "[orders, stock]", "[*o-1, &s stock]", "name: stock", "name: *s"),
		"an alias as a key":      plainly[:first] + strings.Replace(limits, "limits:", "&l limits:", 1) + second(strings.Replace(limits, "limits:", "*l :", 1)),
		"a merge key":            plainly[:first] + strings.Replace(limits, "limits:", "limits: &l", 1) + second("    limits: {<<: *l}\n"),
		"a merge key overruled": plainly[:first] + "    limits: &l {max_connections: 7, dial_timeout: 1s, login_timeout: 15s}\n" +
			second("    limits:\n      dial_timeout: 1s\n      <<: [{max_connections: 7, dial_timeout: 9s}, *l]\n"),
		"a merged database": plainly[:first] + limits + second("    <<: {name: other, limits: {max_connections: 7, dial_timeout: 1s}}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse("f.yaml", []byte(text))
			if err != nil {
				t.Fatalf("%v\nof\n%s", err, text)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v\nwant\n%+v\nof\n%s", got, want, text)
			}
		})
	}
}

func encodeUTF16(text string, order binary.AppendByteOrder) string {
	var data []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		data = order.AppendUint16(data, unit)
	}
	return string(data)
}
