package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The printed environment is all that a program needs to read the secret.
func TestPrintedEnvironmentWorks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders.json")
	if err := os.WriteFile(file, []byte(`{"password":"x"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, credentials := range []string{"key", "container", "instance"} {
		t.Run(credentials, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			stdout, printed := io.Pipe()
			calls, logged := io.Pipe()
			done := make(chan error, 1)
			go func() {
				err := run(ctx, []string{"-secret", "prod/orders=" + file, "-credentials", credentials}, printed, logged)
				printed.CloseWithError(io.EOF)
				logged.CloseWithError(io.EOF)
				done <- err
			}()
			line := make(chan string, 16)
			go func() {
				defer close(line)
				for in := bufio.NewScanner(calls); in.Scan(); {
					line <- in.Text()
				}
			}()

			lines := bufio.NewScanner(stdout)
			for lines.Scan() {
				name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
				t.Setenv(name, value)
				if name == "AWS_EC2_METADATA_DISABLED" { // the last one
					break
				}
			}
			transport := &http.Transport{DisableKeepAlives: true}
			cfg, err := config.LoadDefaultConfig(t.Context(), config.WithHTTPClient(&http.Client{Transport: transport}))
			if err != nil {
				t.Fatal(err)
			}
			id := "prod/orders"
			out, err := sm.NewFromConfig(cfg).GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: &id})
			if err != nil || *out.SecretString != `{"password":"x"}` {
				t.Errorf("secret: %v, %v", out, err)
			}
			stop()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
			var last string
			for last = range line {
			}
			if !strings.Contains(last, "GetSecretValue prod/orders") || !strings.HasSuffix(last, " OK") {
				t.Errorf("last call logged: %q", last)
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"secret without file", []string{"-secret", "a"}, "want NAME=FILE"},
		{"file that is not there", []string{"-secret", "a=/nonexistent"}, "no such file"},
		{"secret twice", []string{"-secret", "a=/dev/null", "-secret", "a=/dev/null"}, "given twice"},
		{"bad name", []string{"-secret", "a b=/dev/null"}, "Invalid name"},
		{"argument", []string{"x"}, "unexpected argument"},
		{"credentials", []string{"-credentials", "x"}, "not key, container or instance"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := run(t.Context(), tt.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want …%s…", err, tt.want)
			}
		})
	}
}
