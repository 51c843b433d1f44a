package integration_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/credproxy/credproxy/integration/servers"
)

// TestMySQLChangeUser changes the user on connections as pools and PHP do, while
// all goes well and while the credential rotates.
func TestMySQLChangeUser(t *testing.T) {
	eachFlavor(t, func(t *testing.T, flavor string) {
		o := servers.MySQLOptions{Flavor: flavor, Settings: map[string]string{"local_infile": "ON", "max_allowed_packet": "64M"}}
		s := changeUserStand{newMySQLStand(t, o, "")}
		const sql = "CREATE DATABASE other; GRANT ALL ON other.* TO app; CREATE TABLE app.lines (line LONGBLOB)"
		if err := s.my.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		for _, plugin := range []string{"caching_sha2_password", "mysql_native_password", "", "absent"} {
			t.Run("100 times "+plugin, func(t *testing.T) { s.hundred(t, plugin) })
		}
		t.Run("client library", s.library)
		t.Run("local infile", s.localInfile)
		t.Run("reset connection", s.resetConnection)
		t.Run("rotation", s.rotation) // the last one
	})
}

type changeUserStand struct{ *mySQLStand }

func (s changeUserStand) login(t *testing.T, plugin string) *rawMySQL {
	t.Helper()
	h := mysqlHello{caps: usualCaps | capConnectWithDB, charset: 45, user: "anybody", database: "app", plugin: plugin}
	if plugin == "" {
		h.caps &^= capPluginAuth
	}
	return rawLogin(t, s.addr, h)
}

// change changes the user and checks that the session is a new one, in the
// database wanted.
func (s changeUserStand) change(t *testing.T, c *rawMySQL, database, want string) {
	t.Helper()
	c.exec("SET @v = 1, time_zone = '+03:00'")
	c.exec("CREATE TEMPORARY TABLE app.temporary (n int)")
	if p := c.changeUser("somebody", database); p[0] != 0 {
		t.Fatal(mysqlError(p))
	}
	_, rows, _ := c.rows("SELECT @v, @@time_zone, DATABASE(), LEFT(CURRENT_USER(), 3)")
	if got := fmt.Sprint(rows); got != "[[NULL SYSTEM "+want+" app]]" {
		t.Fatalf("after the change of user: %s, want database %s", got, want)
	}
}

// hundred changes are one connection to the server, as they are directly.
func (s changeUserStand) hundred(t *testing.T, plugin string) {
	c := s.login(t, plugin)
	for i := range 25 {
		s.change(t, c, "", "app") // the default database
		s.change(t, c, "other", "other")
		s.change(t, c, "app", "app")
		if p := c.changeUser("", "other"); p[0] != 0 { // and again at once
			t.Fatal(mysqlError(p))
		}
		if id := c.value("SELECT CONNECTION_ID()"); id != fmt.Sprint(c.greeting.id) {
			t.Fatalf("round %d: connection %s, was %d", i, id, c.greeting.id)
		}
	}
}

// library: the C client library, which drivers of many languages are built on.
func (s changeUserStand) library(t *testing.T) {
	changeUser := filepath.Join(t.TempDir(), "changeuser")
	output(t, exec.Command("gcc", "-Wall", "-Werror", "-o", changeUser, "testdata/changeuser.c"))
	libraries, err := filepath.Glob(filepath.Join(filepath.Dir(servers.MySQLProgram(t, "mariadb", "mariadb")), "../lib/*/libmariadb.so.3"))
	if err != nil || len(libraries) != 1 {
		t.Fatalf("libraries %q, %v", libraries, err)
	}
	_, port, _ := strings.Cut(s.addr, ":")
	output(t, exec.Command(changeUser, libraries[0], port))
}

// localInfile sends files whose pieces look like COM_CHANGE_USER, with their ends
// around each place where packet numbers wrap, and changes the user right after.
func (s changeUserStand) localInfile(t *testing.T) {
	c := s.login(t, "caching_sha2_password")
	line := append(bytes.Repeat([]byte{comChangeUser}, 20), '\n')
	send := func(pieces ...[]byte) {
		t.Helper()
		c.exec("DELETE FROM app.lines")
		if p := c.query("LOAD DATA LOCAL INFILE 'any' INTO TABLE app.lines CHARACTER SET binary"); p[0] != 0xfb {
			t.Fatalf("%q", p)
		}
		size := 0
		for _, piece := range pieces {
			c.send(piece)
			size += len(bytes.TrimSuffix(piece, []byte("\n")))
		}
		c.send(nil)
		if p := c.packet(); p[0] != 0 {
			t.Fatal(mysqlError(p))
		}
		if got := c.value("SELECT SUM(LENGTH(line)) FROM app.lines"); got != strconv.Itoa(size) {
			t.Errorf("%d pieces: %s bytes of %d arrived", len(pieces), got, size)
		}
		s.change(t, c, "", "app")
	}
	for _, n := range []int{1, 252, 253, 254, 255, 256, 509, 510, 511, 1000} {
		pieces := make([][]byte, n)
		for i := range pieces {
			pieces[i] = line
		}
		send(pieces...)
	}
	// Packet 255 is a full one, which packet 0 continues.
	pieces := make([][]byte, 253, 254)
	for i := range pieces {
		pieces[i] = line
	}
	send(append(pieces, append(bytes.Repeat([]byte{comChangeUser}, 1<<24+100), '\n'))...)
}

// resetConnection: COM_RESET_CONNECTION is the server's own affair.
func (s changeUserStand) resetConnection(t *testing.T) {
	c := s.login(t, "caching_sha2_password")
	for range 3 {
		c.exec("SET @v = 1")
		if p := c.command(comResetConnection, nil); p[0] != 0 {
			t.Fatal(mysqlError(p))
		}
		if v := c.value("SELECT @v"); v != null {
			t.Errorf("@v is %s after a reset", v)
		}
		s.change(t, c, "other", "other")
	}
}

// rotation: the cached credential is refused in the middle of a session, in each
// state that a rotation can leave.
func (s changeUserStand) rotation(t *testing.T) {
	c := s.login(t, "caching_sha2_password")
	secret := func(user, password string) string { return mySQLSecret(s.my, user, password) }
	set := func(user, password string) {
		t.Helper()
		if err := s.my.SetPassword(t.Context(), user, password); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.my.CreateUser(t.Context(), "app_clone", "clone-1", "", "ALL ON other.*"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"pending is set", func() {
			s.aws.PutSecret("prod/main", secret("app", "single-1"), "AWSPENDING")
			set("app", "single-1")
		}},
		{"the rotation is finished", func() { s.aws.PutSecret("prod/main", secret("app", "single-1")) }},
		{"another one is", func() {
			set("app", "single-2")
			s.aws.PutSecret("prod/main", secret("app", "single-2"))
		}},
		{"the other user's turn", func() {
			s.aws.PutSecret("prod/main", secret("app_clone", "clone-1"))
			set("app", "single-3")
		}},
		{"and the first one's", func() {
			s.aws.PutSecret("prod/main", secret("app", "single-3"))
			set("app_clone", "clone-2")
		}},
	} {
		t.Log(step.name)
		step.do()
		for range 3 {
			s.change(t, c, "other", "other")
			s.change(t, c, "", "app")
		}
	}
}
