package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A transaction of the load, a script of pgbench: two queries.
const transaction = "INSERT INTO visit VALUES (current_user);\nSELECT 1;\n"

// Load runs pgbench twice at a time.
func (p *postgres) Load(ctx context.Context, addr string, d time.Duration) (load, error) {
	common := []string{
		"--no-vacuum", "--file=-", "--client=" + strconv.Itoa(clientCount),
		"--time=" + strconv.Itoa(int(d.Seconds())), p.conninfo(addr),
	}
	var reconnecting, staying load
	err := together(ctx, func(ctx context.Context) (err error) {
		reconnecting, err = p.pgbench(ctx, append([]string{"--connect", "--rate=" + strconv.Itoa(connectsPerSecond)}, common...)...)
		reconnecting.connections += reconnecting.transactions // --connect: one each
		return err
	}, func(ctx context.Context) (err error) {
		staying, err = p.pgbench(ctx, append([]string{"--rate=" + strconv.Itoa(transactionsPerSecond)}, common...)...)
		staying.connections += clientCount
		return err
	})
	reconnecting.add(staying)
	return reconnecting, err
}

// pgbench runs it once. Errors of the load are counted, not returned.
func (p *postgres) pgbench(ctx context.Context, args ...string) (load, error) {
	pgbench, err := p.Program("pgbench")
	if err != nil {
		return load{}, err
	}
	cmd := program(ctx, pgbench, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(transaction), &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return load{}, context.Cause(ctx)
	}
	l := readPgbench(stdout.String(), stderr.String())
	if _, exited := errors.AsType[*exec.ExitError](err); exited && l.failedConnections+l.failedTransactions > 0 {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("pgbench: %w\n%s", err, firstLines(stderr.String(), 5))
	}
	return l, nil
}

var (
	processed = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	failed    = regexp.MustCompile(`(?m)^number of failed transactions: (\d+)`)
)

// readPgbench reads pgbench's report. A client whose connection or query fails
// says so and gives up; failed transactions are those it would try again. pgbench
// makes one connection of its own at its start.
func readPgbench(stdout, stderr string) load {
	l := load{connections: 1, transactions: number(processed, stdout), failedTransactions: number(failed, stdout)}
	for line := range strings.Lines(stderr) {
		switch {
		case strings.Contains(line, "connection to server"):
			l.failedConnections++
		case strings.Contains(line, "aborted in command"):
			l.failedTransactions++
		}
	}
	if l.failedConnections+l.failedTransactions > 0 {
		l.messages = firstLines(stderr, 3)
	}
	l.queries = l.transactions * queriesPerTransaction
	return l
}

func number(r *regexp.Regexp, text string) int64 {
	m := r.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // the pattern has only digits
	return n
}
