package file_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/file"
	"github.com/credproxy/credproxy/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "Pl4nted-Passw0rd"

var (
	_ secrets.Source  = (*file.Source)(nil)
	_ secrets.Watcher = (*file.Source)(nil)
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func document(username string) string {
	return `{"username":"` + username + `","password":"` + password + `"}`
}

func TestFetchFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, `{"engine":"mysql","host":"h","port":"3306","username":"app","password":"`+password+`","dbname":"d"}`+"\n")
	source := file.New(path)
	c, err := source.Fetch(t.Context(), secrets.Current)
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != "app" || secretstest.Reveal(c) != password || c.VersionID != localVersion("app", password) {
		t.Errorf("got %v, password %q", c, secretstest.Reveal(c))
	}
	if want := (secrets.Endpoint{Engine: "mysql", Host: "h", Port: 3306, Database: "d"}); c.Endpoint != want {
		t.Errorf("endpoint %+v", c.Endpoint)
	}
	if source.Kind() != "file" {
		t.Errorf("kind %q", source.Kind())
	}
}

func TestFetchDirectory(t *testing.T) {
	for name, tc := range map[string]struct {
		files    map[string]string
		username string
		password string
		endpoint secrets.Endpoint
	}{
		"two files":           {map[string]string{"username": "app", "password": password}, "app", password, secrets.Endpoint{}},
		"newlines at the end": {map[string]string{"username": "app\n", "password": password + "\r\n"}, "app", password, secrets.Endpoint{}},
		"only one newline":    {map[string]string{"username": "app", "password": " p\n\n"}, "app", " p\n", secrets.Endpoint{}},
		"JSON's own signs":    {map[string]string{"username": `a"b`, "password": `p\u0041<&>"`}, `a"b`, `p\u0041<&>"`, secrets.Endpoint{}},
		"all fields": {map[string]string{"username": "app", "password": password, "engine": "postgres\n", "host": "h\n", "port": "5433\n", "dbname": "d\n"},
			"app", password, secrets.Endpoint{Engine: "postgres", Host: "h", Port: 5433, Database: "d"}},
		"as Kubernetes mounts": {map[string]string{"..2026_1/username": "app", "..2026_1/password": password}, "app", password, secrets.Endpoint{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tc.files {
				write(t, filepath.Join(dir, file), content)
			}
			if _, err := os.Stat(filepath.Join(dir, "username")); err != nil {
				mountAsKubernetes(t, dir, "..2026_1")
			}
			c, err := file.New(dir).Fetch(t.Context(), secrets.Current)
			if err != nil {
				t.Fatal(err)
			}
			if c.Username != tc.username || secretstest.Reveal(c) != tc.password || c.Endpoint != tc.endpoint {
				t.Errorf("got %v, password %q, %+v", c, secretstest.Reveal(c), c.Endpoint)
			}
		})
	}
}

// mountAsKubernetes links dir/..data to version by a rename, and the files to it.
func mountAsKubernetes(t *testing.T, dir, version string) {
	t.Helper()
	link(t, version, filepath.Join(dir, "..data"))
	entries, err := os.ReadDir(filepath.Join(dir, version))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		link(t, filepath.Join("..data", e.Name()), filepath.Join(dir, e.Name()))
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+"_tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"_tmp", path); err != nil {
		t.Fatal(err)
	}
}

func TestFetchErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		files  map[string]string
		path   string
		stage  secrets.Stage
		reason secrets.Reason
		text   string
	}{
		"no file":           {nil, "orders.json", secrets.Current, secrets.NotFound, "/orders.json"},
		"no password file":  {map[string]string{"d/username": "app"}, "d", secrets.Current, secrets.NotFound, "/d/password"},
		"empty directory":   {map[string]string{"d/x": ""}, "d", secrets.Current, secrets.NotFound, "/d/username"},
		"empty file":        {map[string]string{"f": ""}, "f", secrets.Current, secrets.Malformed, "/f: secret document: not valid JSON"},
		"half a file":       {map[string]string{"f": document("app")[:40]}, "f", secrets.Current, secrets.Malformed, "/f: secret document: not valid JSON"},
		"empty password":    {map[string]string{"d/username": "app", "d/password": "\n"}, "d", secrets.Current, secrets.Malformed, "/d: secret document: password is empty"},
		"password not text": {map[string]string{"d/username": "app", "d/password": password + "\xff"}, "d", secrets.Current, secrets.Malformed, "/d/password: not UTF-8"},
		"port not a number": {map[string]string{"d/username": "app", "d/password": password, "d/port": password}, "d", secrets.Current, secrets.Malformed, "port is not a number"},
		"password a directory": {map[string]string{"d/username": "app", "d/password/x": ""}, "d", secrets.Current, secrets.Malformed,
			"/d/password: not a regular file"},
		"too long": {map[string]string{"f": strings.Repeat(" ", secrets.MaxDocument+1)}, "f", secrets.Current, secrets.Malformed, "/f: longer than 65536 bytes"},
		"pending":  {map[string]string{"f": document("app")}, "f", secrets.Pending, secrets.NoVersion, "AWSPENDING"},
		"previous": {map[string]string{"f": document("app")}, "f", secrets.Previous, secrets.NoVersion, "AWSPREVIOUS"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range tc.files {
				write(t, filepath.Join(dir, file), content)
			}
			_, err := file.New(filepath.Join(dir, tc.path)).Fetch(t.Context(), tc.stage)
			wantError(t, err, tc.reason, tc.text)
		})
	}
}

func wantError(t *testing.T, err error, reason secrets.Reason, text string) {
	t.Helper()
	if err == nil || secrets.ReasonOf(err) != reason || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want %s: %s", err, reason, text)
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("shows the password: %v", err)
	}
}

// wantHint checks what clients hear: advice for a secret of AWS would mislead them.
func wantHint(t *testing.T, err error, text string) {
	t.Helper()
	if told := fault.As(err).Told(); !strings.Contains(told, text) || strings.Contains(told, "role") {
		t.Errorf("clients hear %q, want %q", told, text)
	}
}

func TestFetchPipeDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := file.New(path).Fetch(t.Context(), secrets.Current)
	wantError(t, err, secrets.Malformed, "/pipe: not a regular file")
}

func TestFetchCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := file.New("x").Fetch(ctx, secrets.Current)
	wantError(t, err, secrets.Unavailable, "canceled")
}

// localVersion is the version id that this process gives to a credential.
func localVersion(username, password string) string {
	c := secrets.NewCredential(username, password)
	c.UseLocalVersion()
	return c.VersionID
}
