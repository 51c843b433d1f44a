package upgrade

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzTable(f *testing.F) {
	for _, t := range []table{
		{From: Origin{1, 7}, Sockets: []Key{{"database", "127.0.0.1:5432"}}},
		{From: Origin{9, 7}, Predecessors: []Origin{{8, 6}, {1, 5}}, State: json.RawMessage(`{"timeout":1}`)},
	} {
		text, err := json.Marshal(t)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, 2+len(t.Sockets)+len(t.Predecessors))
	}
	f.Add([]byte("{"), 2)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		got, err := parseTable(text, n)
		if err != nil {
			return
		}
		if 2+len(got.Sockets)+len(got.Predecessors) != n || got.From.Number < 1 {
			t.Errorf("%q of %d is %+v", text, n, got)
		}
	})
}

func TestTable(t *testing.T) {
	for text, want := range map[string]string{
		`{"from":{"number":1},"sockets":[{"kind":"a","name":"b"}]}`:                   "",
		`{"from":{"number":1},"sockets":[{"kind":"a","name":"b"}],"later":"version"}`: "",
		`{"from":{"number":1},"sockets":[]}`:                                          "which 3 descriptors cannot be",
		`{"sockets":[{"kind":"a","name":"b"}]}`:                                       "does not say which process",
		`[]`:                                                                          "the table of sockets: json",
		`{"from":{"number":1},"predecessors":[` + strings.Repeat("{},", MaxPredecessors) + `{}]}`: "there may be 20000 and 32",
		strings.Repeat(" ", maxTable+1): "more than 4194304 bytes",
	} {
		_, err := parseTable([]byte(text), 3)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.100s: %v, want %q", text, err, want)
		}
	}
}
