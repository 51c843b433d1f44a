package servers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// replicaUser is who replicas log in as; its password opens nothing else.
const replicaUser, replicaPassword = "replica", "replicates only"

// caughtUpWithin bounds the wait for a replica, which may have to execute all that was ever
// written.
const caughtUpWithin = 300 // seconds

// dialect is how a flavor says the same.
type dialect struct {
	on, off  string // read-only for all, or for nobody
	source   string // the source, from a host, a port, a user, a password and whether there is TLS; begins to replicate
	end      string // replicates no more, and forgets the source
	executed string // what a server has executed
	await    string // that a server has executed so much, in so many seconds: 0
}

func (my *MySQL) dialect() dialect {
	if my.Flavor == "mariadb" {
		return dialect{
			on: "SET GLOBAL read_only = ON", off: "SET GLOBAL read_only = OFF",
			source: `CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %d, MASTER_USER = %s, MASTER_PASSWORD = %s, MASTER_SSL = %d,
				MASTER_CONNECT_RETRY = 1, MASTER_DEMOTE_TO_SLAVE = 1; START REPLICA`,
			end:      "STOP REPLICA; RESET REPLICA ALL",
			executed: "SELECT @@global.gtid_binlog_pos",
			await:    "SELECT MASTER_GTID_WAIT(?, ?)",
		}
	}
	return dialect{
		on: "SET GLOBAL super_read_only = ON", off: "SET GLOBAL read_only = OFF",
		source: `CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %d, SOURCE_USER = %s, SOURCE_PASSWORD = %s, SOURCE_SSL = %d,
			SOURCE_CONNECT_RETRY = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1; START REPLICA`,
		end:      "STOP REPLICA; RESET REPLICA ALL",
		executed: "SELECT @@global.gtid_executed",
		await:    "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
	}
}

// binlog are the settings of a server that is, or may become, the source of replicas.
func (my *MySQL) binlog() map[string]string {
	settings := map[string]string{
		"server_id": strconv.FormatUint(uint64(rand.Uint32()|1), 10), // 0 is none
		"log_bin":   "binlog", "binlog_format": "ROW", "sync_binlog": "0",
		"relay_log": "relay",
	}
	if my.Flavor == "mariadb" {
		settings["log_slave_updates"] = "ON"
	} else {
		settings["gtid_mode"], settings["enforce_gtid_consistency"] = "ON", "ON"
	}
	return settings
}

// SetReadOnly makes the server refuse writes, also a superuser's if it is MySQL, or take
// them again. Sessions stay: their next write is refused with error 1290.
func (my *MySQL) SetReadOnly(ctx context.Context, on bool) error {
	if on {
		return my.Exec(ctx, my.dialect().on)
	}
	return my.Exec(ctx, my.dialect().off)
}

// Follow makes the server a read-only replica of source, and returns when it has all that
// source had. It may have been source's own source before.
func (my *MySQL) Follow(ctx context.Context, source *MySQL) error {
	account := mysqlLiteral(replicaUser)
	err := source.Exec(ctx, fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED BY %s; GRANT REPLICATION SLAVE ON *.* TO %[1]s", account, mysqlLiteral(replicaPassword)))
	if err != nil {
		return fmt.Errorf("make the replicas' user: %w", err)
	}
	tls := 0
	if source.Certificate != nil {
		tls = 1
	}
	d := my.dialect()
	replicate := fmt.Sprintf(d.source, mysqlLiteral(source.Host), source.Port, account, mysqlLiteral(replicaPassword), tls)
	if err := my.Exec(ctx, d.on+"; "+replicate); err != nil {
		return fmt.Errorf("replicate from %s: %w", source.Addr(), err)
	}
	return my.catchUp(ctx, source)
}

// catchUp returns when the server has executed what source has.
func (my *MySQL) catchUp(ctx context.Context, source *MySQL) error {
	var done string
	if err := source.superuserQuery(ctx, &done, my.dialect().executed); err != nil {
		return err
	}
	var late int
	if err := my.superuserQuery(ctx, &late, my.dialect().await, done, caughtUpWithin); err != nil {
		return err
	}
	if late != 0 {
		return fmt.Errorf("%s has not caught up with %s at %s in %d s", my.Addr(), source.Addr(), done, caughtUpWithin)
	}
	return nil
}

// superuserQuery reads the one value of an answer.
func (my *MySQL) superuserQuery(ctx context.Context, value any, query string, args ...any) error {
	root, err := my.Superuser()
	if err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	defer root.Close()
	if err := root.QueryRowContext(ctx, query, args...).Scan(value); err != nil {
		return fmt.Errorf("superuser: %w", err)
	}
	return nil
}

// Demote makes the server read-only and returns when next, its replica, has all of its
// writes.
func (my *MySQL) Demote(ctx context.Context, next *MySQL) error {
	if err := my.SetReadOnly(ctx, true); err != nil {
		return err
	}
	return next.catchUp(ctx, my)
}

// Promote makes a replica a source that takes writes. Its old source hears nothing of it.
func (my *MySQL) Promote(ctx context.Context) error {
	return my.Exec(ctx, my.dialect().end+"; "+my.dialect().off)
}

// HandOver has the server and next, its replica, change roles, as an operator does; no
// write is lost, and no session ends.
func (my *MySQL) HandOver(ctx context.Context, next *MySQL) error {
	if err := my.Demote(ctx, next); err != nil {
		return err
	}
	if err := next.Promote(ctx); err != nil {
		return err
	}
	return my.Follow(ctx, next)
}
