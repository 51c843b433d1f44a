package config_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/credproxy/credproxy/config"
)

// TestDeployed loads each configuration of credproxy in deploy/: files, those in
// ConfigMaps, and the values of Helm charts. Templates are left to deploy/check.
func TestDeployed(t *testing.T) {
	found := map[string]int{}
	load := func(file, how string, text []byte) {
		found[how]++
		if _, err := config.Parse(file, text); err != nil {
			t.Error(err)
		}
	}
	err := filepath.WalkDir("../deploy", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "templates":
			return fs.SkipDir
		case filepath.Ext(path) != ".yaml":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for docs := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var doc struct {
				Kind      string
				Databases any
				Data      map[string]any
				Config    map[string]any
				Credproxy struct{ Config map[string]any }
			}
			if err := docs.Decode(&doc); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				t.Errorf("%s: %v", path, err)
				return nil
			}
			if doc.Databases != nil {
				load(path, "file", text)
			}
			if inner, ok := doc.Data["credproxy.yaml"].(string); ok && doc.Kind == "ConfigMap" {
				load(path, "ConfigMap", []byte(inner))
			}
			for _, values := range []map[string]any{doc.Config, doc.Credproxy.Config} {
				if values["databases"] == nil {
					continue
				}
				inner, err := yaml.Marshal(values)
				if err != nil {
					return err
				}
				load(path, "values", inner)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(found)
	if found["file"] < 2 || found["ConfigMap"] < 2 {
		t.Errorf("found %v", found)
	}
}
