package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
)

func mustParse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	want := &config.Config{
		Admin:    config.Admin{Listen: "127.0.0.1:9090", Control: "auto", Readiness: config.Serving},
		Log:      config.Log{Level: "info"},
		Shutdown: config.Shutdown{DrainTimeout: 30 * time.Second, UpgradeTimeout: 24 * time.Hour},
		Databases: []config.Database{{
			Name:        "a",
			TLS:         config.TLS{Mode: config.VerifyFull},
			Credentials: config.Credentials{File: &config.CredentialFile{Path: "/x"}},
			Rotation:    config.Rotation{Refresh: time.Hour, Grace: 90 * time.Second, MaxStale: 24 * time.Hour},
			BreakGlass:  config.BreakGlass{MaxDuration: time.Hour},
			Limits:      config.Limits{MaxConnections: 1000, LoginTimeout: 15 * time.Second, LookupTimeout: 10 * time.Second, DialTimeout: 5 * time.Second, ServerTimeout: 30 * time.Second},
			Pool:        config.Pool{Mode: config.PoolOff, MaxIdle: 20, WaitTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute, MaxLifetime: time.Hour},
			Role:        config.AnyRole,
			Failover:    config.Failover{Monitor: time.Second, Drain: 5 * time.Second, Hold: 30 * time.Second, MaxLag: time.Second, ReaderFallback: config.NoFallback},
		}},
	}
	if got := mustParse(t, db()); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestExplicitZeroIsNotReplaced(t *testing.T) {
	c := mustParse(t, "admin: {listen: ''}\nshutdown: {drain_timeout: 0}\n"+db("rotation: {grace: 0s}"))
	d := c.Databases[0]
	if c.Admin.Listen != "" || c.Shutdown.DrainTimeout != 0 || d.Rotation.Grace != 0 {
		t.Errorf("an explicit zero was replaced: %+v", c)
	}
}

func TestAccepted(t *testing.T) {
	const pem = "testdata/present.pem"
	tests := []struct {
		name string
		yaml string
		got  func(d config.Database) any
		want any
	}{
		{"listener as a string", db("listen: 127.0.0.1:5432"), func(d config.Database) any { return d.Listen }, []string{"127.0.0.1:5432"}},
		{"port 0 twice", db("listen: [127.0.0.1:0, 127.0.0.1:0]"), func(d config.Database) any { return len(d.Listen) }, 2},
		{"hosts", db("role: writer", "hosts: [b, 'c:5433', '[::1]:5434', '::1']"), func(d config.Database) any { return len(d.Hosts) }, 4},
		{"IPv6 loopback", db("listen: ['[::1]:5432', 127.0.0.1:5432]"), func(d config.Database) any { return len(d.Listen) }, 2},
		{"remote, allowed", db("listen: ':5432'", "access: {allow_remote: true}"), func(d config.Database) any { return d.Access.AllowRemote }, true},
		{"remote, with certificates", db("listen: 10.0.0.1:5432", "client_tls: {cert_file: "+pem+", key_file: "+pem+", client_ca_file: "+pem+"}"),
			func(d config.Database) any { return d.ClientTLS.ClientCAFile }, pem},
		{"longest socket", db("listen: unix:/" + strings.Repeat("x", 102)), func(d config.Database) any { return len(d.Listen[0]) }, 108},
		{"user ids and names", db("access: {uids: [1000, app, '0']}"), func(d config.Database) any { return d.Access.UIDs }, []string{"1000", "app", "0"}},
		{"sections commented out", db("tls:", "limits:"), func(d config.Database) any { return d.TLS.Mode }, config.VerifyFull},
		{"folded string", db("host: >-", "  db.example"), func(d config.Database) any { return d.Host }, "db.example"},
		{"alias of a section", db("limits: &l {dial_timeout: 1s}") + "  - {name: b, limits: *l, " + good + "}\n",
			func(d config.Database) any { return d.Limits.DialTimeout }, time.Second},
		{"BOM and CRLF", "\ufeff" + strings.ReplaceAll(db("host: db # c"), "\n", "\r\n"), func(d config.Database) any { return d.Host }, "db"},
		{"region of the ARN", "databases: [{name: a, credentials: {secrets_manager: {secret_id: 'arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:a-AbCdEf'}}}]",
			func(d config.Database) any { return d.Credentials.SecretsManager.Region }, "cn-north-1"},
		{"session name", "databases: [{name: a, credentials: {secrets_manager: {secret_id: a, assume_role: {role_arn: 'arn:aws:iam::123456789012:role/r'}}}}]",
			func(d config.Database) any { return d.Credentials.SecretsManager.AssumeRole.SessionName }, "credproxy"},
		{"region of the host", "databases: [{name: a, engine: mysql, host: x.abc.us-gov-west-1.rds.amazonaws.com, credentials: {iam: {user: u}}}]",
			func(d config.Database) any { return d.Credentials.IAM.Region }, "us-gov-west-1"},
		{"region of the host in China", "databases: [{name: a, engine: mysql, host: x.abc.rds.cn-north-1.amazonaws.com.cn, credentials: {iam: {user: u}}}]",
			func(d config.Database) any { return d.Credentials.IAM.Region }, "cn-north-1"},
		{"region of the signing host", "databases: [{name: a, engine: mysql, host: db.internal, credentials: {iam: {user: u, signing_host: 'x.abc.eu-west-1.rds.amazonaws.com:3306'}}}]",
			func(d config.Database) any { return d.Credentials.IAM.Region }, "eu-west-1"},
		{"region of a cluster of Aurora DSQL", "databases: [{name: a, host: Abc123.dsql.us-east-2.on.aws., credentials: {dsql: {user: admin}}}]",
			func(d config.Database) any { return []any{d.Credentials.DSQL.Region, d.Engine, d.Database} }, []any{"us-east-2", config.Postgres, "postgres"}},
		{"region of a cluster of Aurora DSQL by PrivateLink, through a tunnel", "databases: [{name: a, host: localhost, tls: {server_name: abc.dsql-fnh4.us-east-1.on.aws}, credentials: {dsql: {user: u}}}]",
			func(d config.Database) any { return d.Credentials.DSQL.Region }, "us-east-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustParse(t, tt.yaml)
			if got := tt.got(c.Databases[len(c.Databases)-1]); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// An alias is counted each time it is used, so few lines cannot become many.
func TestAliasesDoNotExplode(t *testing.T) {
	text := "databases:\n  - &a {name: a, access: {databases: [" + strings.Repeat("a,", 999) + "a]}, " + good + "}\n" + strings.Repeat("  - *a\n", 999)
	_, err := config.Parse("f.yaml", []byte(text))
	if err == nil || !strings.Contains(err.Error(), "more than 200000 values, counting each use of an alias; make the file smaller") {
		t.Errorf("got %.200v", err)
	}
}

// Nor does one merge key, each of which names the one before it many times.
func TestMergeKeysDoNotExplode(t *testing.T) {
	text := "databases:\n  - name: a\n    limits: &l0 {}\n    " + good + "\n"
	for i := range 10 {
		text += fmt.Sprintf("  - name: b%d\n    limits: &l%d {<<: [%s]}\n", i, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i), 20), ", "))
	}
	_, err := config.Parse("f.yaml", []byte(text))
	if err == nil || !strings.Contains(err.Error(), "more than 200000 values, counting each use of an alias; make the file smaller") {
		t.Errorf("got %.200v", err)
	}
}

func TestErrorsCarryNoCredential(t *testing.T) {
	_, err := config.Parse("f.yaml", []byte(`
databases:
  - name: a
    credentials:
      secrets_manager: {secret_id: hunter2 hunter2, keys: {username: hunter2, password: hunter2}, password: hunter2}
      env: {username: "hunter2!", password: "hunter2!"}
      file: [hunter2]
      iam: {user: u, signing_host: "hunter2!", region: hunter2!, assume_role: {role_arn: hunter2, external_id: "hunter2!"}}
`))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestSyntaxErrorsQuoteNoLine(t *testing.T) {
	_, err := config.Parse("f.yaml", []byte("databases:\n  - password: hunter2\n   hunter2: [\n"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if _, err := config.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	if _, err := config.Load(filepath.Dir(path)); err == nil || !strings.HasSuffix(err.Error(), ": is a directory; name a file in it") {
		t.Errorf("directory: got %v", err)
	}
	if err := os.WriteFile(path, []byte("log: {level: loud}\n"+db()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path)
	var list config.Errors
	if !errors.As(err, &list) || len(list) != 1 || list[0].File != path || list[0].Line != 1 || list[0].Column != 14 || list[0].Path != "log.level" {
		t.Errorf("got %#v", err)
	}
}

const sample = "../deploy/credproxy.yaml"

func TestSampleLoads(t *testing.T) {
	c, err := config.Load(sample)
	if err != nil {
		t.Fatal(err)
	}
	// What the sample calls a default is one: without it all stays the same.
	bare, want := mustParse(t, db()).Databases[0], c.Databases[0]
	if len(c.Admin.UIDs) == 0 {
		c.Admin.UIDs = nil // an empty list says nothing
	}
	for _, pair := range [][2]any{
		{want.TLS, bare.TLS}, {want.Rotation, bare.Rotation}, {want.Probe, bare.Probe}, {want.BreakGlass, bare.BreakGlass},
		{want.Limits, bare.Limits}, {want.ClientTLS, bare.ClientTLS}, {want.Session, bare.Session},
		{c.Admin, mustParse(t, db()).Admin}, {c.Shutdown, mustParse(t, db()).Shutdown}, {c.Metrics, mustParse(t, db()).Metrics},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("the sample has %+v, the default is %+v", pair[0], pair[1])
		}
	}
}

// Each key of the schema stands in the sample, with the keys above it.
func TestSampleIsComplete(t *testing.T) {
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range schema(reflect.TypeFor[config.Config](), nil) {
		if !hasPath(string(text), path) {
			t.Errorf("%s is missing", strings.Join(path, "."))
		}
	}
}

// schema lists the paths of all keys, but assume_role's only once.
func schema(section reflect.Type, above []string) (paths [][]string) {
	for i := range section.NumField() {
		key, _, _ := strings.Cut(section.Field(i).Tag.Get("yaml"), ",")
		path := append(slices.Clone(above), key)
		if key == "-" {
			continue
		}
		paths = append(paths, path)
		inner := section.Field(i).Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && key != "each" && (key != "assume_role" || slices.Contains(path, "secrets_manager")) {
			paths = append(paths, schema(inner, path)...)
		}
	}
	return paths
}

// hasPath finds a path in the sample by indentation: a key stands somewhere
// below and right of the key above it.
func hasPath(text string, path []string) bool {
	lines, indent := strings.Split(text, "\n"), -1
	for _, key := range path {
		at := slices.IndexFunc(lines, func(line string) bool {
			trimmed := strings.TrimLeft(line, " -")
			return strings.HasPrefix(trimmed, key+":") && len(line)-len(trimmed) > indent
		})
		if at < 0 {
			return false
		}
		indent = len(lines[at]) - len(strings.TrimLeft(lines[at], " -"))
		lines = lines[at+1:]
	}
	return true
}

// What asks a running credproxy depends on where it is to be asked alone.
func TestLoadAdmin(t *testing.T) {
	for text, want := range map[string]string{
		"databases: []":                          "127.0.0.1:9090",
		"admin: {listen: ':9191'}":               ":9191",
		"admin: {listen: ''}":                    "",
		"admin:":                                 "127.0.0.1:9090",
		"admin: {listen: '127.0.0.1:1'}\nx: [1]": "127.0.0.1:1",
		"- a":                                    "127.0.0.1:9090",
		"admin: {listen: nowhere}":               "f.yaml:1:17: admin.listen: ",
		"admin: {control: nowhere}":              "f.yaml:1:18: admin.control: ",
		"admin: {readiness: never}":              "127.0.0.1:9090",
		"admin: 1":                               "f.yaml:1:8: admin: ",
		"admin: [":                               "f.yaml:1:",
	} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("f.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		admin, err := config.LoadAdmin("f.yaml")
		got := admin.Listen
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if _, err := config.LoadAdmin("none.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
