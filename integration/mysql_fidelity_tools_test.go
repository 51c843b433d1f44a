package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// mysqlCommand prepares a program of MySQL or MariaDB that knows no password and
// dies with the test process.
func mysqlCommand(t *testing.T, flavor, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), servers.MySQLProgram(t, flavor, name), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// toolNames are what each flavor calls its programs, and how its client is told
// to take commands of its own, such as DELIMITER, from its input.
var toolNames = map[string]struct{ client, commands, dump, binlog string }{
	"mysql":   {"mysql", "--commands", "mysqldump", "mysqlbinlog"},
	"mariadb": {"mariadb", "--named-commands", "mariadb-dump", "mariadb-binlog"},
}

// through are the flags that connect through credproxy, with nothing else said.
func (s fidelity) through(args ...string) []string {
	host, port, _ := net.SplitHostPort(s.addr)
	return append([]string{"--no-defaults", "--host=" + host, "--port=" + port, "--user=anybody"}, args...)
}

func (s fidelity) direct(args ...string) []string {
	return append(s.my.Flags("app", appPassword), args...)
}

// clients: the command-line clients of both, against this server, without a
// password and with one that a configuration still has.
func (s fidelity) clients(t *testing.T) {
	file, count, sum := infile(infileSize)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flavor := range servers.MySQLFlavors() {
		for _, password := range []string{"", "--password=whatever"} {
			t.Run(flavor+password, func(t *testing.T) {
				run := func(script string, args ...string) string {
					t.Helper()
					args = append([]string{toolNames[flavor].commands, "--batch", "--raw", "--skip-column-names"}, args...)
					if password != "" {
						args = append(args, password)
					}
					cmd := mysqlCommand(t, flavor, toolNames[flavor].client, s.through(args...)...)
					cmd.Stdin = strings.NewReader(script)
					return output(t, cmd)
				}
				s.status(t, run("SELECT CONCAT('id ', CONNECTION_ID());\n\\s\n"))
				for charset, sample := range map[string]string{"utf8mb4": "é€☃😀", "latin1": "\xe9\x80"} {
					args := []string{"--default-character-set=" + charset}
					if charset == "utf8mb4" && flavor == "mysql" && s.my.Flavor == "mariadb" {
						// The client means utf8mb4_0900_ai_ci (255), which MariaDB does not
						// know and takes for its default: also directly, see TestMySQLWire.
						args = append(args, "--init-command=SET NAMES utf8mb4")
					}
					charsetRoundTrip(t, charset, sample, func(script string) string { return run(script, args...) })
				}
				if password == "" {
					script := fmt.Sprintf("LOAD DATA LOCAL INFILE '%s' INTO TABLE loaded CHARACTER SET binary;\n", path) +
						"SELECT COUNT(*), SUM(CRC32(line)) FROM loaded; TRUNCATE loaded;"
					if got := run(script, "--local-infile=1"); got != count+"\t"+sum+"\n" {
						t.Errorf("count and sum of the lines %q, want %s and %s", got, count, sum)
					}
				}
			})
		}
	}
}

// status checks what \s shows.
func (s fidelity) status(t *testing.T, shown string) {
	t.Helper()
	id, status, _ := strings.Cut(shown, "\n")
	shows := map[string]string{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		shows[name] = strings.TrimSpace(value)
	}
	version := shows["Server version"] + shows["Server"]
	if "id "+shows["Connection id"] != id && !pooled() || !strings.HasPrefix(shows["Current user"], "app@") || shows["Current database"] != "app" ||
		!strings.Contains(version, s.my.Version) || shows["Connection"] != "127.0.0.1 via TCP/IP" {
		t.Errorf("%s, status\n%s", id, status)
	}
}

// charsetRoundTrip writes and reads a text, and asks the server what it took it
// for.
func charsetRoundTrip(t *testing.T, charset, sample string, run func(script string) string) {
	t.Helper()
	script := fmt.Sprintf(`CREATE TEMPORARY TABLE round_trip (s VARCHAR(50) CHARACTER SET utf8mb4);
		INSERT INTO round_trip VALUES ('%s');
		SELECT s, HEX(s), @@character_set_client FROM round_trip;`, sample)
	want := map[string]string{"utf8mb4": "C3A9E282ACE29883F09F9880", "latin1": "C3A9E282AC"}[charset]
	if got := run(script); got != sample+"\t"+want+"\t"+charset+"\n" {
		t.Errorf("%s: %q, want %s", charset, got, want)
	}
}

// What a dump must carry: types, quotes, bytes, and what is not a table.
const mysqlDumpSchema = `
CREATE TABLE things (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(100), bytes VARBINARY(300), at DATETIME(6), amount DECIMAL(20, 5),
	double_ DOUBLE, bits BIT(9), doc JSON, void TEXT) CHARACTER SET utf8mb4 COMMENT 'a "comment", it''s ☃';
INSERT INTO things (word, bytes, at, amount, double_, bits, doc) VALUES
	('it''s \\ ok\n\t☃ 😀', CONCAT(UNHEX(REPEAT('00FF1A0D0A2722', 9)), REPEAT(0x11, 99)), '2024-02-29 12:00:00.000001', 1/7, 1e-7, b'101010101', '{"ключ": 1}');
CREATE TABLE children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES things (id));
CREATE VIEW v AS SELECT id, CONCAT(word, '☃') AS w FROM things;
CREATE TRIGGER tr BEFORE INSERT ON children FOR EACH ROW SET NEW.parent = COALESCE(NEW.parent, 1);
CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC RETURN n + 1;
CREATE EVENT ev ON SCHEDULE EVERY 1 YEAR DISABLE DO SET @x = '☃'`

// dump: a dump through credproxy is that of the database, also when it is
// restored through credproxy.
func (s fidelity) dump(t *testing.T) {
	conn := s.conn(t, s.config())
	const double = "INSERT INTO things (word, bytes, at, amount, double_, bits, doc) SELECT word, UNHEX(SHA2(id, 256)), at, id / 7, id, bits, doc FROM things"
	for _, statement := range append(strings.Split(mysqlDumpSchema, ";\n"), slices.Repeat([]string{double}, 13)...) {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	names := toolNames[s.my.Flavor]
	dump := func(connect func(...string) []string, more ...string) *exec.Cmd {
		args := connect("--no-tablespaces", "--single-transaction", "--routines", "--triggers", "--events", "--skip-dump-date")
		if s.my.Flavor == "mysql" {
			args = append(args, "--set-gtid-purged=OFF")
		}
		return mysqlCommand(t, s.my.Flavor, names.dump, append(args, more...)...)
	}
	want := output(t, dump(s.direct, "app"))
	if got := output(t, dump(s.through, "app")); got != want || len(got) < megabyte || !strings.Contains(got, "-- Dump completed") {
		t.Errorf("the dump through credproxy has %d bytes, the direct one %d", len(got), len(want))
	}
	from, into := dump(s.through, "app"), mysqlCommand(t, s.my.Flavor, names.client, s.through(names.commands, "copy")...)
	var err error
	if into.Stdin, err = from.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := from.Start(); err != nil {
		t.Fatal(err)
	}
	output(t, into)
	if err := from.Wait(); err != nil {
		t.Fatal(err)
	}
	original, restored := output(t, dump(s.direct, "--skip-comments", "app")), output(t, dump(s.direct, "--skip-comments", "copy"))
	if restored != original {
		t.Errorf("what was restored has a dump of %d bytes, the original %d", len(restored), len(original))
	}
}

// binlog: the log of all that was written, as text, as files, and as it grows.
func (s fidelity) binlog(t *testing.T) {
	read := func(connect func(...string) []string, more ...string) *exec.Cmd {
		args := append(connect("--read-from-remote-server"), more...)
		return mysqlCommand(t, s.my.Flavor, toolNames[s.my.Flavor].binlog, append(args, "binlog.000001")...)
	}
	want := output(t, read(s.direct, "--to-last-log"))
	if got := output(t, read(s.through, "--to-last-log")); got != want || len(got) < megabyte {
		t.Errorf("the log through credproxy has %d bytes, the direct one %d", len(got), len(want))
	}
	grows := read(s.through, "--raw", "--stop-never")
	if err := grows.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = grows.Process.Kill(); _ = grows.Wait() }()
	if err := s.my.Exec(t.Context(), "CREATE TABLE app.streamed (n INT) COMMENT 'arrives while the reader waits'"); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(s.my.SocketDir, "data/binlog.000001"))
	if err != nil || !strings.Contains(string(own), "while the reader waits") {
		t.Fatalf("the server's own log has %d bytes, %v", len(own), err)
	}
	sidecar.Await(t, "the server's log has arrived", func() bool {
		got, _ := os.ReadFile(filepath.Join(grows.Dir, "binlog.000001"))
		return len(got) == len(own) && string(got[100:]) == string(own[100:]) // before that a flag says that it is in use
	})
}
