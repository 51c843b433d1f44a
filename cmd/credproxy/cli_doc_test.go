package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const cliIntro = `# Commands

Each flag can also be set by the environment variable beside it. The command line wins over
the environment, and the environment over the configuration file. Exit status: 0 done;
1 failed; 2 bad usage or configuration.

` + "`credproxy completion bash|zsh|fish|powershell`" + ` prints a script for the shell's completion.

<!-- Written by go test ./cmd/credproxy -update from the commands themselves. -->
`

// TestCLIDoc holds docs/cli.md to what the commands say of themselves.
func TestCLIDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString(cliIntro)
	for _, cmd := range rootCommand().Commands() {
		writeCommand(&b, cmd)
	}
	golden(t, "../../docs/cli.md", b.String())
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## credproxy %s\n\n", cmd.Name())
	if cmd.Long == "" {
		fmt.Fprintf(b, "%s.\n\n", cmd.Short)
	} else {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", cmd.Long)
	}
	fmt.Fprintf(b, "```\n%s\n```\n", strings.TrimSpace(strings.TrimSuffix(cmd.UseLine(), "[flags]")))
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	if !cmd.HasAvailableLocalFlags() {
		return
	}
	b.WriteString("\n| flag | variable | default | meaning |\n|---|---|---|---|\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name, def := "`--"+f.Name+"`", f.DefValue
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		if def == "[]" {
			def = ""
		}
		if def != "" {
			def = "`" + def + "`"
		}
		meaning := strings.TrimSuffix(f.Usage, " ("+variableOf(f)+")")
		fmt.Fprintf(b, "| %s | `%s` | %s | %s |\n", name, variableOf(f), def, strings.ReplaceAll(meaning, "|", `\|`))
	})
}

// TestHelp holds that each command says what it does, shows an example, and takes
// each of its flags from the environment as well.
func TestHelp(t *testing.T) {
	for _, cmd := range rootCommand().Commands() {
		if cmd.Name() == "version" {
			continue
		}
		if !strings.Contains(cmd.Example, "credproxy") || len(cmd.Long) < 100 {
			t.Errorf("%s has no example or no long help", cmd.Name())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.HasSuffix(f.Usage, "("+variableOf(f)+")") {
				t.Errorf("%s --%s: help names no variable: %s", cmd.Name(), f.Name, f.Usage)
			}
			value := map[string]string{"bool": "true", "duration": "7s", "int": "16", "stringSlice": "[a]"}[f.Value.Type()]
			if value == "" {
				value = "x"
			}
			t.Setenv(variableOf(f), strings.Trim(value, "[]"))
			defer os.Unsetenv(variableOf(f))
			if err := fromEnvironment(cmd); err != nil || f.Value.String() != value || origin(f) != variableOf(f) {
				t.Errorf("%s --%s from %s: %q, %v", cmd.Name(), f.Name, origin(f), f.Value, err)
			}
		})
	}
}

func TestFlagGoesBeforeVariable(t *testing.T) {
	t.Setenv("CREDPROXY_TIMEOUT", "soon")
	if code, _, stderr := call(t, "wait"); code != exitUsage || !strings.Contains(stderr, `CREDPROXY_TIMEOUT: "soon" is not valid here; write a duration`) {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, stderr := call(t, "wait", "--timeout", "-1s"); code != exitUsage || !strings.Contains(stderr, "negative") {
		t.Errorf("%d %s", code, stderr)
	}
}
