package secrets

import (
	"encoding/json"
	"strings"
	"testing"
)

// plantedPassword stands for a password in documents that are wrong: no error may show it.
const plantedPassword = "Pl4nted-Passw0rd"

func TestParseDocument(t *testing.T) {
	many := `{"orders": {"user": "o", "password": "op"}, "list": [["u0"], ["u1", "p1"]], "a/b": {"m~n": "odd"},
		"": "empty key", "engine": "mysql"}`
	for name, tc := range map[string]struct {
		document string
		keys     Keys
		username string
		password string
		endpoint Endpoint
	}{
		"full, port a number": {
			document: `{"engine":"postgres","host":"db.example","port":5433,"username":"app","password":"s3cret","dbname":"orders","ssl":true,"masterarn":"arn"}`,
			username: "app", password: "s3cret", endpoint: Endpoint{"postgres", "db.example", 5433, "orders"},
		},
		"full, port a string": {
			document: `{"engine":"aurora-mysql","host":"db.example","port":"3306","username":"app","password":"s3cret"}`,
			username: "app", password: "s3cret", endpoint: Endpoint{"mysql", "db.example", 3306, ""},
		},
		"managed by RDS": {
			document: `{"username":"admin","password":"p\"\\\u00e9ß"}`,
			username: "admin", password: "p\"\\éß",
		},
		"null and empty are absent": {
			document: `{"username":"a","password":"b","engine":null,"host":"","port":"","dbname":null}`,
			username: "a", password: "b",
		},
		"unknown engine is for the configuration": {
			document: `{"username":"a","password":"b","engine":"cockroach"}`, username: "a", password: "b",
		},
		"aurora-postgresql": {
			document: `{"username":"a","password":"b","engine":"Aurora-PostgreSQL"}`, username: "a", password: "b", endpoint: Endpoint{Engine: "postgres"},
		},
		"mariadb": {
			document: `{"username":"a","password":"b","engine":"mariadb"}`, username: "a", password: "b", endpoint: Endpoint{Engine: "mariadb"},
		},
		"a key twice: the last counts": {
			document: `{"username":"a","password":"old","password":"new"}`, username: "a", password: "new",
		},
		"keys differ by case": {
			document: `{"username":"a","password":"b","Password":"c"}`, username: "a", password: "b",
		},
		"a byte-order mark": {
			document: "\ufeff{\"username\":\"a\",\"password\":\"b\"}", username: "a", password: "b",
		},
		"space around host, port and engine": {
			document: `{"username":"a","password":"b","host":" db.example\n","port":"3306 ","engine":"mysql "}`,
			username: "a", password: "b", endpoint: Endpoint{"mysql", "db.example", 3306, ""},
		},
		"a port of spaces": {
			document: `{"username":"a","password":"b","port":" "}`, username: "a", password: "b",
		},
		"a host with its port": {
			document: `{"username":"a","password":"b","host":"db.example:5432"}`,
			username: "a", password: "b", endpoint: Endpoint{Host: "db.example", Port: 5432},
		},
		"a host with its port, and the port": {
			document: `{"username":"a","password":"b","host":"[2001:db8::1]:5432","port":5432}`,
			username: "a", password: "b", endpoint: Endpoint{Host: "2001:db8::1", Port: 5432},
		},
		"an IPv6 address": {
			document: `{"username":"a","password":"b","host":"2001:db8::1","port":5432}`,
			username: "a", password: "b", endpoint: Endpoint{Host: "2001:db8::1", Port: 5432},
		},
		"white space around": {
			document: " \n{\"username\":\"a\",\"password\":\" b \"}\r\n\t", username: "a", password: " b ",
		},
		"pointers": {
			document: many, keys: Keys{"/orders/user", "/orders/password"}, username: "o", password: "op", endpoint: Endpoint{Engine: "mysql"},
		},
		"pointers into arrays": {
			document: many, keys: Keys{"/list/1/0", "/list/1/1"}, username: "u1", password: "p1", endpoint: Endpoint{Engine: "mysql"},
		},
		"escaped pointers": {
			document: many, keys: Keys{"/a~1b/m~0n", "/"}, username: "odd", password: "empty key", endpoint: Endpoint{Engine: "mysql"},
		},
		"one pointer": {
			document: `{"username":"a","reader":"r"}`, keys: Keys{Password: "/reader"}, username: "a", password: "r",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseDocument([]byte(tc.document), tc.keys)
			if err != nil {
				t.Fatal(err)
			}
			if c.Username != tc.username || c.reveal() != tc.password || c.Endpoint != tc.endpoint {
				t.Errorf("got %q, %q, %+v", c.Username, c.reveal(), c.Endpoint)
			}
		})
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		document string
		keys     Keys
		want     string
	}{
		"nothing":                   {``, Keys{}, "not valid JSON"},
		"plain text":                {plantedPassword, Keys{}, "not valid JSON"},
		"half of it":                {`{"username":"a","password":"` + plantedPassword, Keys{}, "not valid JSON"},
		"unquoted":                  {`{"username":"a","password":` + plantedPassword + `}`, Keys{}, "not valid JSON (after byte "},
		"a string":                  {`"` + plantedPassword + `"`, Keys{}, "not a JSON object"},
		"a list":                    {`["` + plantedPassword + `"]`, Keys{}, "not a JSON object"},
		"null":                      {`null`, Keys{}, "not a JSON object"},
		"followed by text":          {`{"username":"a","password":"` + plantedPassword + `"} x`, Keys{}, "something follows the JSON object"},
		"followed by another":       {`{"username":"a","password":"` + plantedPassword + `"}{}`, Keys{}, "something follows the JSON object"},
		"not UTF-8":                 {"{\"username\":\"a\",\"password\":\"" + plantedPassword + "\xff\"}", Keys{}, "not UTF-8"},
		"too long":                  {`{"username":"a","password":"` + strings.Repeat(plantedPassword, MaxDocument/len(plantedPassword)) + `"}`, Keys{}, "longer than 65536 bytes"},
		"too deep":                  {strings.Repeat("[", 20000), Keys{}, "not valid JSON"},
		"no username":               {`{"user":"a","password":"` + plantedPassword + `"}`, Keys{}, "username is missing"},
		"empty username":            {`{"username":"","password":"` + plantedPassword + `"}`, Keys{}, "username is empty"},
		"username a number":         {`{"username":1,"password":"` + plantedPassword + `"}`, Keys{}, "username is not a string"},
		"no password":               {`{"username":"` + plantedPassword + `"}`, Keys{}, "password is missing"},
		"null password":             {`{"username":"` + plantedPassword + `","password":null}`, Keys{}, "password is missing"},
		"empty password":            {`{"username":"` + plantedPassword + `","password":""}`, Keys{}, "password is empty"},
		"password an object":        {`{"username":"a","password":{"v":"` + plantedPassword + `"}}`, Keys{}, "password is not a string"},
		"NUL in username":           {`{"username":"a\u0000","password":"` + plantedPassword + `"}`, Keys{}, "username contains a NUL"},
		"NUL in password":           {`{"username":"a","password":"` + plantedPassword + `\u0000"}`, Keys{}, "password contains a NUL"},
		"NUL in dbname":             {`{"username":"a","password":"` + plantedPassword + `","dbname":"x\u0000user"}`, Keys{}, "dbname contains a NUL"},
		"two byte-order marks":      {"\ufeff\ufeff" + `{"username":"a","password":"` + plantedPassword + `"}`, Keys{}, "not valid JSON"},
		"host with another port":    {`{"username":"a","password":"` + plantedPassword + `","host":"db:1","port":2}`, Keys{}, "host names another port than port does"},
		"host with no port":         {`{"username":"a","password":"` + plantedPassword + `","host":"db:"}`, Keys{}, "host ends in a port that is not a number"},
		"host with a port of text":  {`{"username":"a","password":"` + plantedPassword + `","host":"db:` + plantedPassword + `"}`, Keys{}, "host ends in a port that is not a number"},
		"host a number":             {`{"username":"a","password":"` + plantedPassword + `","host":1}`, Keys{}, "host is not a string"},
		"port 0":                    {`{"username":"a","password":"` + plantedPassword + `","port":0}`, Keys{}, "port is not a number from 1 to 65535"},
		"port too high":             {`{"username":"a","password":"` + plantedPassword + `","port":65536}`, Keys{}, "port is not a number from 1 to 65535"},
		"port negative":             {`{"username":"a","password":"` + plantedPassword + `","port":"-1"}`, Keys{}, "port is not a number from 1 to 65535"},
		"port a fraction":           {`{"username":"a","password":"` + plantedPassword + `","port":1.5}`, Keys{}, "port is not a number from 1 to 65535"},
		"port text":                 {`{"username":"a","password":"x","port":"` + plantedPassword + `"}`, Keys{}, "port is not a number from 1 to 65535"},
		"port true":                 {`{"username":"a","password":"` + plantedPassword + `","port":true}`, Keys{}, "port is not a number from 1 to 65535"},
		"oracle":                    {`{"username":"a","password":"` + plantedPassword + `","engine":"oracle-ee"}`, Keys{}, "engine is oracle: credproxy serves postgres, mysql and mariadb"},
		"sqlserver":                 {`{"username":"a","password":"` + plantedPassword + `","engine":"sqlserver"}`, Keys{}, "engine is sqlserver"},
		"pointer to nothing":        {`{"username":"a","password":"` + plantedPassword + `"}`, Keys{Password: "/orders/password"}, "password (at /orders/password) is missing"},
		"pointer through a string":  {`{"username":"a","password":"` + plantedPassword + `"}`, Keys{Password: "/password/x"}, "password (at /password/x) is missing"},
		"pointer past the end":      {`{"username":"a","l":["` + plantedPassword + `"]}`, Keys{Password: "/l/1"}, "password (at /l/1) is missing"},
		"pointer with leading zero": {`{"username":"a","l":["` + plantedPassword + `"]}`, Keys{Password: "/l/00"}, "password (at /l/00) is missing"},
		"pointer to an object":      {`{"username":"a","o":{"p":"` + plantedPassword + `"}}`, Keys{Password: "/o"}, "password (at /o) is not a string"},
		"pointer without slash":     {`{"username":"a","password":"` + plantedPassword + `"}`, Keys{Password: "password"}, `JSON pointer "password" does not start with /`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseDocument([]byte(tc.document), tc.keys)
			if err == nil {
				t.Fatal("accepted")
			}
			if ReasonOf(err) != Malformed {
				t.Errorf("reason %s", ReasonOf(err))
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q does not say %q", err, tc.want)
			}
			if strings.Contains(err.Error(), plantedPassword) {
				t.Errorf("shows the password: %q", err)
			}
		})
	}
}

func TestKeysValidate(t *testing.T) {
	for keys, ok := range map[Keys]bool{
		{}:                                 true,
		{"/a/b", "/c~0d/e~1f"}:             true,
		{"/", "//"}:                        true,
		{Username: "a"}:                    false,
		{Username: "/a~2"}:                 false,
		{Password: "/a~"}:                  false,
		{Username: "/a", Password: "#/pw"}: false,
	} {
		if err := keys.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", keys, err)
		}
	}
}

// Whatever the document: an error is Malformed and shows no password planted in
// it, and a credential has a user, a password and a port in range.
func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"engine":"postgres","host":"h","port":5432,"username":"app","password":"`+plantedPassword+`","dbname":"d"}`), "", "")
	f.Add([]byte(`{"username":"app","password":"`+plantedPassword+`","port":"99999"}`), "", "")
	f.Add([]byte(`{"o":[{"u":"app","p":"`+plantedPassword+`"}]}`), "/o/0/u", "/o/0/p")
	f.Add([]byte(`{"username":"app","password":`+plantedPassword+`}`), "", "/~01")
	f.Fuzz(func(t *testing.T, data []byte, username, password string) {
		keys := Keys{username, password}
		c, err := ParseDocument(data, keys)
		if err != nil {
			if ReasonOf(err) != Malformed {
				t.Errorf("reason %s", ReasonOf(err))
			}
			if strings.Contains(err.Error(), plantedPassword) && !strings.Contains(username+password, plantedPassword) {
				t.Errorf("shows the password: %q", err)
			}
			return
		}
		if keys.Validate() != nil {
			t.Error("accepted a bad pointer")
		}
		if len(data) > MaxDocument || !json.Valid(data) {
			t.Error("accepted what is no document")
		}
		if c.Username == "" || c.reveal() == "" || strings.ContainsRune(c.Username+c.reveal(), 0) {
			t.Errorf("user %q, password of %d bytes", c.Username, len(c.reveal()))
		}
		if c.Endpoint.Port < 0 || c.Endpoint.Port > 65535 {
			t.Errorf("port %d", c.Endpoint.Port)
		}
	})
}

// The planted password at every place of a document that is then broken at every byte.
func TestErrorsNeverShowThePassword(t *testing.T) {
	document := `{"engine":"oracle","host":7,"port":"` + plantedPassword + `","username":"` + plantedPassword + `","password":"` + plantedPassword + `"}`
	for i := range document {
		for _, broken := range []string{document[:i], document[i:], document[:i] + "\x00" + document[i:], document[:i] + `"` + document[i:], document[:i] + document[i+1:]} {
			if _, err := ParseDocument([]byte(broken), Keys{}); err == nil || strings.Contains(err.Error(), plantedPassword[:6]) {
				t.Errorf("%q: %v", broken, err)
			}
		}
	}
}
