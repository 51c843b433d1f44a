package integration_test

import (
	"encoding/json"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

const (
	nodeModules = "/var/cache/credproxy-test/node/node_modules" // by setup.sh
	connectorJ  = "/usr/share/java/mariadb-java-client.jar"
)

// clientProgram is one of testdata/drivers. It connects without a password, sends
// parameters to a prepared statement, rolls back one insert and commits another,
// makes an error, and prints what it found as JSON.
type clientProgram struct {
	name string
	argv []string
	more map[string]any // it prints, beside what all do
}

var mySQLDrivers = []clientProgram{
	{"node mysql2", []string{"node", "mysql2.js"}, map[string]any{"changed": true, "pooled": 190.0}},
	{"PHP mysqli", []string{"php", "mysqli.php"}, map[string]any{"changed": true}},
	{"PyMySQL", []string{"/usr/bin/python3", "pymysql_client.py"}, map[string]any{"error": "1146"}}, // it does not tell the SQLSTATE
	{"Perl DBD::mysql", []string{"perl", "dbd_mysql.pl"}, nil},
	{"MariaDB Connector/J", []string{"java", "-XX:TieredStopAtLevel=1", "-cp", connectorJ, "Connector.java"}, map[string]any{"valid": true}},
}

const anyText = "naïve 日本 😀"

func (d clientProgram) run(t *testing.T, addr string, want map[string]any) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), d.argv[0], append(d.argv[1:], host, port)...)
	cmd.Dir = filepath.Join("testdata", "drivers")
	cmd.Env = append(cmd.Environ(), "NODE_PATH="+nodeModules, "LC_ALL=C.UTF-8")
	var got map[string]any
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		said := out
		if exit, ok := err.(*exec.ExitError); ok {
			said = append(said, exit.Stderr...)
		}
		t.Fatalf("%v\n%s", err, said)
	}
	maps.Copy(want, d.more)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestMySQLDrivers runs a program in each language's usual driver.
func TestMySQLDrivers(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		t.Parallel()
		s := newMySQLStand(t, servers.MySQLOptions{Flavor: flavor}, "")
		t.Run("all", func(t *testing.T) {
			for _, d := range mySQLDrivers {
				t.Run(d.name, func(t *testing.T) {
					t.Parallel()
					d.run(t, s.addr, map[string]any{"sum": 42.0, "text": anyText, "rows": []any{anyText}, "user": "app@%", "error": "1146 42S02"})
				})
			}
		})
	})
}
