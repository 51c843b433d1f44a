package config_test

import (
	"bytes"
	"encoding/json"
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
// ConfigMaps, the values of Helm charts, and the secrets that ECS tasks name on
// credproxy's command line. Templates are left to deploy/check.
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
		case filepath.Ext(path) == ".json":
			found["command"] += loadCommands(t, path)
			return nil
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
				Config    string
				Credproxy struct{ Config string }
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
			for _, inner := range []string{doc.Config, doc.Credproxy.Config} {
				if inner != "" {
					load(path, "values", []byte(inner))
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(found)
	if found["file"] < 2 || found["ConfigMap"] < 2 || found["values"] < 1 || found["command"] < 2 {
		t.Errorf("found %v", found)
	}
}

// loadCommands loads what the containers called credproxy of a task definition run.
func loadCommands(t *testing.T, path string) (found int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var task struct {
		ContainerDefinitions []struct {
			Name    string
			Command []string
		}
	}
	if err := json.Unmarshal(text, &task); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	for _, c := range task.ContainerDefinitions {
		if c.Name != "credproxy" {
			continue
		}
		found++
		if len(c.Command) < 2 || c.Command[0] != "run" {
			t.Errorf("%s: command %q", path, c.Command)
		} else if _, err := config.ForSecrets(c.Command[1:]); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	return found
}
