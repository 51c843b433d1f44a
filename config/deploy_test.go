package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/credproxy/credproxy/config"
)

// TestTaskDefinitions loads the secrets that the task definitions of ECS name on
// credproxy's command line, in place of a file.
func TestTaskDefinitions(t *testing.T) {
	files, err := filepath.Glob("../deploy/ecs/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no task definitions", err)
	}
	for _, path := range files {
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
		found := 0
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
		if found != 1 {
			t.Errorf("%s: %d containers credproxy", path, found)
		}
	}
}
