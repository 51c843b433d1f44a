package store_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/rotation/store"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

func TestWith(t *testing.T) {
	for _, tt := range []struct{ document, want string }{
		{`{"username":"a","password":"b"}`, `{"username":"new","password":"p\"<&>"}`},
		{"\ufeff{ \"port\" : 5432.0,\n\"password\":\t\"b\" ,\"username\":\"a\", \"x\":[1e2,{\"password\":\"kept\"}] }\n",
			"{ \"port\" : 5432.0,\n\"password\":\t\"p\\\"<&>\" ,\"username\":\"new\", \"x\":[1e2,{\"password\":\"kept\"}] }\n"},
		{`{"username":"a","password":"b","password":"c"}`, `{"username":"new","password":"p\"<&>","password":"p\"<&>"}`},
		{`{"username":"a"}`, ""}, {`{"password":"a"}`, ""}, {`[]`, ""}, {``, ""}, {`{"username":"a","password":"b"`, ""}, {`{"username":"a","password":`, ""},
	} {
		d, err := store.NewDocument(tt.document).With("new", `p"<&>`)
		if got := text(t, d); (err != nil) != (tt.want == "") || err == nil && got != tt.want {
			t.Errorf("%s: %s, %v", tt.document, got, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", d, d, d, d); strings.Contains(shown, "<&>") {
			t.Errorf("a document shows itself: %s", shown)
		}
		if b, _ := json.Marshal(d); strings.Contains(string(b), "u003c") {
			t.Errorf("a document shows itself: %s", b)
		}
	}
}

// text is what d holds, as Secrets Manager would be given it.
func text(t *testing.T, d store.Document) string {
	t.Helper()
	return reflect.ValueOf(d).FieldByName("text").Elem().String()
}

// FuzzWith holds that nothing changes but the two values.
func FuzzWith(f *testing.F) {
	f.Add(`{"username":"a","password":"b","z":[1.50,null],"host":"h"}`, "u", "p")
	f.Add(`{"x":{"password":"q"},"password":"b" , "username":"a"}`, "\u2028", `\"`)
	f.Fuzz(func(t *testing.T, document, user, password string) {
		d, err := store.NewDocument(document).With(user, password)
		if err != nil {
			return
		}
		var before, after map[string]any
		if json.Unmarshal([]byte(strings.TrimPrefix(document, "\ufeff")), &before) != nil {
			return // something follows the object; ParseDocument refuses it
		}
		if err := json.Unmarshal([]byte(text(t, d)), &after); err != nil {
			t.Fatalf("no JSON any more: %v", err)
		}
		before["username"], before["password"] = strings.ToValidUTF8(user, "\ufffd"), strings.ToValidUTF8(password, "\ufffd")
		after["username"], after["password"] = strings.ToValidUTF8(fmt.Sprint(after["username"]), "\ufffd"), strings.ToValidUTF8(fmt.Sprint(after["password"]), "\ufffd")
		for _, key := range []string{"username", "password"} { // how many U+FFFD stand for what is no UTF-8 differs
			before[key], after[key] = strings.ReplaceAll(before[key].(string), "\ufffd", ""), strings.ReplaceAll(after[key].(string), "\ufffd", "")
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%v became %v", before, after)
		}
		if c, err := d.Credential("v"); err == nil && c.Username == "" {
			t.Fatal(secretstest.Reveal(c))
		}
	})
}

func TestSameRest(t *testing.T) {
	first := store.NewDocument(`{"username": "a", "password": "b", "port": 5432, "more": [1.50]}`)
	for text, want := range map[string]bool{
		`{"port":5432,"password":"c","username":"d","more":[1.50]}`:          true,
		`{"port":"5432","password":"b","username":"a","more":[1.50]}`:        false,
		`{"port":5432,"password":"b","username":"a"}`:                        false,
		`{"port":5432,"password":"b","username":"a","more":[1.50],"x":null}`: false,
		`[]`: false,
	} {
		if got := first.SameRest(store.NewDocument(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}
