package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/credproxy/credproxy/config"
)

var (
	yamlBlock = regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$")
	document  = regexp.MustCompile(`(?m)^---$`)
	firstKey  = regexp.MustCompile(`(?m)^databases:`)
)

// TestDocumentedConfigurations loads every configuration that README, docs/ and
// deploy/ show, also where it is a string inside another document, such as a
// ConfigMap. A block of YAML in a text that is no YAML is an error too. Templates
// of Helm are no YAML.
func TestDocumentedConfigurations(t *testing.T) {
	loaded := map[string]int{}
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := document.Split(string(text), -1)
		if filepath.Ext(path) == ".md" {
			parts = nil
			for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
				parts = append(parts, block[1])
			}
		}
		for i, part := range parts {
			var value any
			if err := yaml.Unmarshal([]byte(part), &value); err != nil {
				t.Errorf("%s, part %d: %v", path, i+1, err)
			}
			for _, text := range configurations(part, value) {
				if err := load(text); err != nil {
					t.Errorf("%s, part %d: %v", path, i+1, err)
				}
				loaded[path]++
			}
		}
	}
	for _, path := range []string{"../README.md", sample, "../deploy/systemd/credproxy.yaml"} {
		if loaded[path] == 0 {
			t.Errorf("no configuration was found in %s", path)
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	paths := []string{"../README.md"}
	for _, dir := range []string{"../docs", "../deploy"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "templates" {
				return fs.SkipDir
			}
			if slices.Contains([]string{".md", ".yaml", ".yml"}, filepath.Ext(path)) {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// configurations finds them in a document: all of it, which is text, a section, or
// a string.
func configurations(text string, value any) (found []string) {
	switch v := value.(type) {
	case map[string]any:
		list, is := v["databases"].([]any)
		if _, discovers := v["discover"]; is && len(list) > 0 || discovers {
			if text == "" { // a section
				section, _ := yaml.Marshal(v)
				text = string(section)
			}
			return []string{text}
		}
		for _, inner := range v {
			found = append(found, configurations("", inner)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, configurations("", inner)...)
		}
	case string:
		if firstKey.MatchString(v) {
			return []string{v}
		}
	}
	return found
}

// load loads a configuration on a machine that may not have the files it names.
func load(text string) error {
	_, err := config.Parse("configuration", []byte(text))
	var all config.Errors
	if !errors.As(err, &all) {
		return err
	}
	all = slices.DeleteFunc(all, func(e config.Error) bool {
		return strings.HasSuffix(e.Path, "_file") && strings.Contains(e.Message, "no such file")
	})
	if len(all) == 0 {
		return nil
	}
	return all
}
