package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// Two users of this machine. Nobody needs to have made them.
const (
	allowed = 23001
	foreign = 23002
)

// runAs makes cmd run as another user of the group that may use credproxy's sockets.
func runAs(cmd *exec.Cmd, uid uint32) {
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: 0}
	cmd.Dir = "/"
}

// runContained makes cmd run as root of a container that belongs to uid and shares
// the network of credproxy, as containers of a pod do.
func runContained(cmd *exec.Cmd, uid uint32) {
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(uid), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	runAs(cmd, 0)
}

// dialAs connects as another user, who its thread is for that while. The thread
// must live on: with it would die the programs that were started from it.
func dialAs(ctx context.Context, uid int, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(uid int) error {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			return errno
		}
		return nil
	}
	if err := become(uid); err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return conn, errors.Join(err, become(os.Getuid()))
}

// doors are credproxy's listeners: TCP over IPv4 and IPv6, and a unix socket.
type doors struct {
	proxy              *sidecar.Proxy
	tcp4, tcp6, socket string
}

// openDoors runs credproxy with a configuration of one database that listens on
// 127.0.0.1:0.
func openDoors(t *testing.T, aws *awsstub.Server, program, config string) doors {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "credproxy-socket-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	d := doors{socket: filepath.Join(folder, ".s.PGSQL.5432")}
	config = strings.Replace(config, "listen: 127.0.0.1:0", fmt.Sprintf("listen: ['127.0.0.1:0', '[::1]:0', 'unix:%s']", d.socket), 1)
	d.proxy = sidecar.Run(t, sidecar.Options{Binary: program, Config: config, Env: aws.Env()}, appPassword)
	addrs, err := d.proxy.Addrs("main", 3)
	if err != nil {
		t.Fatal(err)
	}
	d.tcp4, d.tcp6 = addrs[0], addrs[1]
	return d
}

// each runs f for every door, with the host and port that clients are told; port
// is empty for a socket, and host its path.
func (d doors) each(t *testing.T, f func(t *testing.T, host, port string)) {
	for name, addr := range map[string]string{"tcp4": d.tcp4, "tcp6": d.tcp6, "unix": d.socket} {
		t.Run(name, func(t *testing.T) {
			host, port := addr, ""
			if name != "unix" {
				host, port, _ = net.SplitHostPort(addr)
			}
			f(t, host, port)
		})
	}
}

// wantIn runs a client that prints "in" when it is.
func wantIn(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "in" {
		t.Errorf("%v: %s", err, out)
	}
}

// wantRefused runs a client that must hear texts.
func wantRefused(t *testing.T, cmd *exec.Cmd, texts ...string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	for _, text := range texts {
		if err == nil || !strings.Contains(string(out), text) {
			t.Errorf("%v: %s\nwant %q", err, out, text)
		}
	}
}

// usersInLog asserts that the log tells who got in and who did not.
func (d doors) usersInLog(t *testing.T, uids map[uint32]string) {
	t.Helper()
	for uid, msg := range uids {
		d.proxy.AwaitLog(t, fmt.Sprintf(`"peer_uid":%d`, uid))
		for line := range strings.Lines(d.proxy.Log()) {
			if strings.Contains(line, fmt.Sprintf(`"peer_uid":%d`, uid)) && !strings.Contains(line, msg) {
				t.Errorf("of user %d: %s", uid, line)
			}
		}
	}
}

func onlyUID(uid int) string { return fmt.Sprintf("access: {uids: [%d]}", uid) }

func psqlTo(t *testing.T, host, port string) *exec.Cmd {
	if port == "" {
		host, port = filepath.Dir(host), "5432"
	}
	return program(t, 18, "psql", "-XAtc", "SELECT 'in'", fmt.Sprintf("host=%s port=%s user=anybody dbname=postgres", host, port))
}

func TestPostgresUsers(t *testing.T) {
	pg := newPostgres(t, servers.PostgresOptions{Version: 18})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	d := openDoors(t, aws, binary, oneDatabase(pg, arn, onlyUID(allowed)))
	d.each(t, func(t *testing.T, host, port string) {
		for run, as := range map[string]func(*exec.Cmd, uint32){"user": runAs, "container": runContained} {
			t.Run(run, func(t *testing.T) {
				in := psqlTo(t, host, port)
				as(in, allowed)
				wantIn(t, in)
				out := psqlTo(t, host, port)
				as(out, foreign)
				wantRefused(t, out, "FATAL:  credproxy: the user with id 23002 may not connect here", "HINT:  Add the user to access.uids")
			})
		}
	})
	// Root is a user as any other.
	for _, addr := range []string{d.tcp4, d.tcp6} {
		_, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://anybody@%s/postgres?sslmode=disable", addr))
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "28000" || !strings.Contains(pgErr.Message, "id 0 ") {
			t.Errorf("root: %v", err)
		}
	}
	d.usersInLog(t, map[uint32]string{allowed: `"msg":"session `, foreign: `"result":"not_allowed"`, 0: `"result":"not_allowed"`})
	awaitMetric(t, d.proxy, 6+2, "credproxy_connections_total", `result="not_allowed"`)
	awaitMetric(t, d.proxy, 6, "credproxy_connections_total", `result="ok"`)
}

// Whoever may not connect may not cancel either, even with the key.
func TestPostgresCancelByAnotherUser(t *testing.T) {
	s := newPGServer(t, servers.PostgresOptions{Version: 18})
	s.run(t, secretJSON(s.Postgres, "app", appPassword), onlyUID(allowed))
	cfg, err := pgx.ParseConfig(s.conninfo("sslmode=disable"))
	if err != nil {
		t.Fatal(err)
	}
	user := allowed
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialAs(ctx, user, network, addr)
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	done := s.sleep(t, conn)
	user = foreign
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitMetric(t, s.proxy, 1, "credproxy_connections_total", `result="not_allowed"`)
	awaitMetric(t, s.proxy, 0, cancels, forwarded)
	user = allowed
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancelled(t, done)
}

func TestMySQLUsers(t *testing.T) {
	my := servers.RunMySQL(t, servers.MySQLOptions{Flavor: "mysql"})
	if err := my.CreateUser(t.Context(), "app", appPassword, ""); err != nil {
		t.Fatal(err)
	}
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", mySQLSecret(my, "app", appPassword))
	d := openDoors(t, aws, binary, mySQLDatabase(my, arn, onlyUID(allowed)))
	d.each(t, func(t *testing.T, host, port string) {
		args := []string{"--no-defaults", "--user=anybody", "-BNe", "SELECT 'in'", "--host=" + host, "--port=" + port}
		if port == "" {
			args = append(args[:4], "--socket="+host)
		}
		in := mysqlCommand(t, "mysql", "mysql", args...)
		runAs(in, allowed)
		wantIn(t, in)
		out := mysqlCommand(t, "mysql", "mysql", args...)
		runAs(out, foreign)
		wantRefused(t, out, "ERROR 1045", "credproxy: the user with id 23002 may not connect here", "access.uids")
	})
	connector, err := mysql.NewConnector(&mysql.Config{User: "anybody", Net: "tcp", Addr: d.tcp4})
	if err != nil {
		t.Fatal(err)
	}
	_, err = connector.Connect(t.Context())
	if myErr, ok := errors.AsType[*mysql.MySQLError](err); !ok || myErr.Number != 1045 {
		t.Errorf("root: %v", err)
	}
	d.usersInLog(t, map[uint32]string{allowed: `"msg":"session `, foreign: `"result":"not_allowed"`, 0: `"result":"not_allowed"`})
	awaitMetric(t, d.proxy, 3+1, "credproxy_connections_total", `result="not_allowed"`)
	// The database has not heard of them: it was asked for the three sessions only.
	awaitMetric(t, d.proxy, 3, "credproxy_login_duration_seconds_count", `phase="dial"`)
}

// In a user namespace of its own credproxy sees others as "nobody": they must not
// get in as that, although nobody may connect.
func TestUsersOfAnotherUserNamespace(t *testing.T) {
	wrapper := filepath.Join(t.TempDir(), "contained")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec unshare --user --map-root-user "+binary+` "$@"`+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	pg := newPostgres(t, servers.PostgresOptions{Version: 18})
	aws := startAWS(t, awsstub.Options{})
	arn := aws.CreateSecret("prod/main", secretJSON(pg, "app", appPassword))
	d := openDoors(t, aws, wrapper, oneDatabase(pg, arn, "access: {uids: [root, 65534]}"))
	d.each(t, func(t *testing.T, host, port string) {
		wantIn(t, psqlTo(t, host, port))
		out := psqlTo(t, host, port)
		runAs(out, foreign)
		wantRefused(t, out, "FATAL:  credproxy: only some users may connect here, and who connects is not known")
	})
	d.proxy.AwaitLog(t, "outside of credproxy's user namespace, where it shows as 65534")
	d.proxy.AwaitLog(t, `"peer_uid":0,"peer_user":"root"`)
}

// In a network of its own, as a pod has, credproxy knows the clients in that network
// and is out of reach for all others.
func TestUsersOfAnotherNetwork(t *testing.T) {
	dir := t.TempDir()
	wrapper := filepath.Join(dir, "pod")
	script := "#!/bin/sh\nexec unshare --net sh -c 'ip link set lo up && exec \"$0\" \"$@\"' " + binary + ` "$@"` + "\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"login.json": `{"username":"app","password":"` + appPassword + `"}`})
	config := fileDatabase(filepath.Join(dir, "login.json"), "port: 1", onlyUID(allowed)) // where no database is
	p := sidecar.Run(t, sidecar.Options{Binary: wrapper, Config: config}, appPassword)
	host, port, _ := net.SplitHostPort(p.Addr(t, "main"))
	inPod := func(uid int) *exec.Cmd {
		psql := psqlTo(t, host, port)
		enter := []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", p.PID()), "setpriv", fmt.Sprintf("--reuid=%d", uid), "--clear-groups"}
		cmd := exec.CommandContext(t.Context(), enter[0], append(enter[1:], psql.Args...)...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", psql.Env, psql.SysProcAttr
		return cmd
	}
	wantRefused(t, inPod(allowed), "FATAL:  credproxy: the database at localhost port 1 refuses connections")
	wantRefused(t, inPod(foreign), "FATAL:  credproxy: the user with id 23002 may not connect here")
	wantRefused(t, psqlTo(t, host, port), "Connection refused")
}
