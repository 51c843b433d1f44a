package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-sql-driver/mysql"
)

// connector knows no password, and a user whom the server does not know: credproxy
// puts its own in place.
func (m *mySQL) connector(addr string) (driver.Connector, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = "me", "tcp", addr, m.database
	c.Logger = &mysql.NopLogger{} // the error says it all
	return mysql.NewConnector(c)
}

func (m *mySQL) Connect(ctx context.Context, addr string) error {
	connector, err := m.connector(addr)
	if err != nil {
		return err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return selectOne(ctx, conn)
}

func (m *mySQL) Load(ctx context.Context, addr string, d time.Duration) (load, error) {
	connector, err := m.connector(addr)
	if err != nil {
		return load{}, err
	}
	connects, transactions := time.NewTicker(time.Second/connectsPerSecond), time.NewTicker(time.Second/transactionsPerSecond)
	defer connects.Stop()
	defer transactions.Stop()
	until, end := context.WithTimeout(ctx, d)
	defer end()
	clients := make([]mySQLClient, 2*clientCount)
	var running []func(context.Context) error
	for i := range clients {
		c := &clients[i]
		c.connector, c.stays, c.turn = connector, i%2 == 0, connects.C
		if c.stays {
			c.turn = transactions.C
		}
		running = append(running, func(ctx context.Context) error { return c.run(ctx, until.Done()) })
	}
	err = together(ctx, running...)
	var sum load
	for _, c := range clients {
		sum.add(c.load)
	}
	return sum, err
}

// mySQLClient uses the driver without the pool of database/sql, which would hide
// failures by trying again.
type mySQLClient struct {
	connector driver.Connector
	stays     bool
	turn      <-chan time.Time // for a transaction; shared with others
	load      load
}

// run returns why ctx ended, if it did before the load.
func (c *mySQLClient) run(ctx context.Context, end <-chan struct{}) error {
	var conn driver.Conn
	for {
		select {
		case <-end:
			if conn != nil {
				_ = conn.Close()
			}
			return context.Cause(ctx)
		case <-c.turn:
		}
		if conn = c.serve(ctx, conn); conn != nil && !c.stays {
			_ = conn.Close()
			conn = nil
		}
	}
}

// serve runs a transaction, on a new connection if there is none. It returns the
// connection unless that is of no more use.
func (c *mySQLClient) serve(ctx context.Context, conn driver.Conn) driver.Conn {
	var err error
	if conn == nil {
		c.load.connections++
		if conn, err = c.connector.Connect(ctx); err != nil {
			c.failed(&c.load.failedConnections, err)
			return nil
		}
	}
	if err = visit(ctx, conn); err != nil {
		c.failed(&c.load.failedTransactions, err)
		_ = conn.Close()
		return nil
	}
	c.load.transactions++
	c.load.queries += queriesPerTransaction
	return conn
}

func (c *mySQLClient) failed(n *int64, err error) {
	*n++
	if c.load.messages == "" {
		c.load.messages = err.Error() + "\n"
	}
}

// visit is a transaction of the load.
func visit(ctx context.Context, conn driver.Conn) error {
	const insert = "INSERT INTO visit VALUES (SUBSTRING_INDEX(CURRENT_USER(), '@', 1))"
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, insert, nil); err != nil {
		return err
	}
	return selectOne(ctx, conn)
}

func selectOne(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
	if err != nil {
		return err
	}
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return fmt.Errorf("no row: %w", err)
	}
	if err := rows.Next(row); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than one row: %w", err)
	}
	return rows.Close()
}
