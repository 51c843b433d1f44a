package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// FuzzParse: no input panics, and each gives a usable configuration or errors
// with a position within the file and a message on one line.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(sample)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("f.yaml", data)
		if err == nil {
			if len(c.Databases) == 0 || c.Databases[0].Name == "" {
				t.Fatalf("accepted without a database: %+v", c)
			}
			return
		}
		var list config.Errors
		if c != nil || !errors.As(err, &list) || len(list) == 0 {
			t.Fatalf("neither a configuration nor Errors: %v, %v", c, err)
		}
		last := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, e := range list {
			if e.Line < 1 || e.Line > last || e.Column < 1 || e.Message == "" || strings.ContainsAny(e.Error(), "\r\n") {
				t.Fatalf("unusable error: %#v", e)
			}
		}
	})
}
