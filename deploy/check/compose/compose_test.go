// Package compose_test reads deploy/compose with the parser of the Compose specification that
// docker compose has, and looks for what only a start would tell: files that are not there, and
// services that do not wait for each other.
//
// It starts nothing: integration/deploy runs what the services run, without containers.
package compose_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const folder = "../../compose"

// load reads the text of a Compose file as docker compose would in deploy/compose.
func load(ctx context.Context, t *testing.T, text string) (*types.Project, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(folder))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(ctx)
}

// wrong says what is wrong with a project that the parser takes.
func wrong(p *types.Project) (all []string) {
	exists := func(what, path string) {
		if _, err := os.Stat(path); err != nil {
			all = append(all, what+": "+err.Error())
		}
	}
	for name, secret := range p.Secrets {
		exists("secret "+name, secret.File)
	}
	for name, service := range p.Services {
		for _, v := range service.Volumes {
			exists(name, v.Source)
		}
		if service.Build != nil {
			exists(name, filepath.Join(service.Build.Context, service.Build.Dockerfile))
		}
		for on, how := range service.DependsOn {
			if how.Condition != types.ServiceConditionHealthy || p.Services[on].HealthCheck == nil {
				all = append(all, name+" does not wait until "+on+" is healthy")
			}
		}
	}
	proxy := p.Services["credproxy"]
	if !proxy.ReadOnly || !slices.Equal(proxy.CapDrop, []string{"ALL"}) || !slices.Contains(proxy.SecurityOpt, "no-new-privileges:true") {
		all = append(all, "credproxy is not confined")
	}
	if _, waits := proxy.DependsOn["database"]; !waits {
		all = append(all, "credproxy does not wait for the database")
	}
	if app := p.Services["application"]; app.NetworkMode != "service:credproxy" || len(app.Secrets) > 0 {
		all = append(all, "the application is not beside credproxy, or has a secret")
	}
	return all
}

func TestCompose(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(folder, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := load(t.Context(), t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong(p) {
		t.Error(w)
	}
	if got := p.ServiceNames(); !slices.Equal(got, []string{"application", "credproxy", "database"}) {
		t.Errorf("services are %q", got)
	}
	for _, m := range [][2]string{
		{"read_only: true", "readonly: true"},
		{"read_only: true", "read_only: false"},
		{"cap_drop: [ALL]", "cap_drop: []"},
		{"condition: service_healthy", "condition: service_started"},
		{"condition: service_healthy", "condition: service_ready"},
		{"network_mode: service:credproxy", "network_mode: service:proxy"},
		{"network_mode: service:credproxy", "network_mode: bridge"},
		{"secrets: [password]", "secrets: [passwords]"},
		{"file: secrets/password", "file: secrets/passwords"},
		{"./credproxy.yaml:", "./proxy.yaml:"},
		{"build: ../..", "build: .."},
		{"interval: 1s", "interval: soon"},
	} {
		changed := strings.Replace(string(text), m[0], m[1], 1)
		if changed == string(text) {
			t.Errorf("%q is not there", m[0])
		}
		if p, err := load(t.Context(), t, changed); err == nil && len(wrong(p)) == 0 {
			t.Errorf("%q for %q: nothing is found", m[1], m[0])
		}
	}
}
