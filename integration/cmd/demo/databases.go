package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// databases is what the demo shows. To add a product, implement server for it.
func databases() []*database {
	return []*database{
		{name: "orders", start: startPostgres(15)},
		{name: "reports", start: startPostgres(18), alternating: true},
		{name: "shop", start: startMySQL("mysql"), retains: true},
		{name: "stock", start: startMySQL("mariadb"), alternating: true},
	}
}

// users are the database users of each secret. The second one takes turns with
// the first if the rotation is alternating, and the rotation function makes it.
var users = [2]string{"app", "app_clone"}

// other is the user whose turn it is after user.
func other(user string) string {
	if user == users[0] {
		return users[1]
	}
	return users[0]
}

// master is the user who makes the second one.
const master = "master"

// passwords are those that a database starts with.
type passwords struct {
	first  string // the first user's
	master string // empty: there is no master
}

// server is a running database server, with the clients that come with it. On it
// is a database of a given name in which the first user may write.
type server interface {
	target
	clients
}

// target is what credproxy and the demo need to know of a server.
type target interface {
	Product() string                                // such as PostgreSQL 15
	Secret(user, password, masterARN string) string // its JSON; without master if that is empty
	CAFile() string                                 // of the server's certificate
	Rows(context.Context) (map[string]int64, error) // that the load has written, by database user
	HasUser(ctx context.Context, user string) (bool, error)
	// Login logs in directly and runs a query. The error is in the server's own words.
	Login(ctx context.Context, user, password string) error
	Stop()
}

// clients connect to an address of credproxy, without a password.
type clients interface {
	// Hello runs the product's command line client and returns the command
	// and what it printed: the user, and the encryption that the server sees.
	Hello(ctx context.Context, addr string) (command, output string, err error)
	// Load keeps the server busy for a time of whole seconds, with clients that
	// connect anew for each transaction and with clients that stay.
	Load(ctx context.Context, addr string, d time.Duration) (load, error)
	// Connect logs in, runs a query and leaves.
	Connect(ctx context.Context, addr string) error
}

// The load on each database: clients that connect anew for each transaction of
// two queries, and as many that stay. The rates, of all of a kind together, are
// what a small machine can do beside everything else.
const (
	clientCount           = 4
	connectsPerSecond     = 60
	transactionsPerSecond = 120 // by those who stay
	queriesPerTransaction = 2
)

// load is what clients report of themselves.
type load struct {
	connections, failedConnections   int64
	transactions, failedTransactions int64
	queries                          int64
	messages                         string // the first errors
}

func (l *load) add(o load) {
	l.connections += o.connections
	l.failedConnections += o.failedConnections
	l.transactions += o.transactions
	l.failedTransactions += o.failedTransactions
	l.queries += o.queries
	l.messages += o.messages
}

// database is one of the list, and what happened to it.
type database struct {
	name        string // also of the database on the server
	alternating bool
	retains     bool // the server keeps a single user's old password beside the new one
	start       func(ctx context.Context, name string, p passwords) (server, error)

	server
	passwords
	function *function
	addr     string   // credproxy's
	made     []string // users that the function has made

	load            load
	rows            map[string]int64 // in the end, by user
	offered         attemptCounts    // in all
	windows         []window
	stale           attempts // a direct client that keeps the first password
	fresh           attempts // a direct client that has just read AWSCURRENT, in each window
	direct, proxied time.Duration
}

func (db *database) secret() string { return "demo/" + db.name }

func (db *database) masterSecret() string { return db.secret() + "-master" }

// closed reports whether AWSCURRENT does not work between setSecret and finishSecret.
func (db *database) closed() bool { return !db.alternating && !db.retains }

func (db *database) rotation() string {
	if db.alternating {
		return "alternating"
	}
	return "single user"
}

// config is credproxy's: all it needs to know of the database.
func (db *database) config() string {
	return fmt.Sprintf(`  - name: %s
    listen: 127.0.0.1:0   # a free port
    tls: {ca_file: %s}
    credentials: {secrets_manager: {secret_id: %s}}
`, db.name, db.CAFile(), db.secret())
}

// wait waits for d, or until ctx ends and then returns why.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// document is a secret's JSON, of which the rotation function knows all keys.
type document struct {
	Engine    string `json:"engine"`
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Username  string `json:"username"`
	Password  string `json:"password"`
	Database  string `json:"dbname"`
	MasterARN string `json:"masterarn,omitempty"`
}

func (d document) String() string {
	text, _ := json.Marshal(d) // strings and numbers always encode
	return string(text)
}

// program prepares a program that can find no password anywhere, and that dies
// with the demo.
func program(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}
