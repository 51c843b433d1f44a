package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// sessionSeries are the figures of credproxy alone: what sessions cost that do
// nothing, and what a start costs. MySQL is behind it, because it can hold
// thousands of them in one process.
func sessionSeries(o *options, r *results) *series {
	m := &mysql{o: o, results: r}
	s := &series{name: "sessions", server: m.pid, start: func(ctx context.Context) ([]contender, func(), error) {
		var err error
		if m.server, err = startMySQL(ctx, o.idle[len(o.idle)-1]+100); err != nil {
			return nil, nil, err
		}
		return []contender{{name: "credproxy"}}, m.server.Stop, nil
	}}
	for _, n := range o.idle {
		s.cases = append(s.cases, m.idle(n))
	}
	s.cases = append(s.cases, m.firstLogin())
	return s
}

// Sessions come to rest for calm, in which credproxy gives back the memory that the
// logins took, and are then watched for restTime.
const (
	calm     = 65 * time.Second
	restTime = 10 * time.Second
)

// idle opens n sessions, watches them do nothing, uses one while they are there,
// and closes them.
func (m *mysql) idle(n int) measurement {
	name := fmt.Sprintf("%d sessions", n)
	one := func(figure, unit string, lower bool) metric {
		return metric{Case: name, Name: figure, Unit: unit, Lower: lower, Absolute: true}
	}
	return measurement{
		metrics: []metric{one("resident memory each, right after the logins", "KB", true), one("resident memory each, at rest", "KB", true), one("descriptors each", "", true), one("processor at rest", "%", true),
			one("logins", "/s", false), one("select meanwhile, 8 clients", "/s", false),
			one("descriptors left behind", "", true)},
		run: func(ctx context.Context, _ contender) ([]float64, error) {
			d, addr, err := startCredproxy(m.o.binary, "mysql", m.server.Port, m.server.CAFile, false)
			if err != nil {
				return nil, err
			}
			defer d.stop()
			c := contender{name: "credproxy", addr: addr, pid: d.pid()}
			if _, err := m.clients(ctx, c, 8, func(conn *sql.Conn) (func() error, error) { return pointSelect(ctx, conn, "prepared") }); err != nil {
				return nil, err // warm
			}
			time.Sleep(time.Second)
			memory, files := resident(d.pid()), descriptors(d.pid())
			start := time.Now()
			leave, err := m.enter(ctx, c, n)
			defer leave()
			if err != nil {
				return nil, err
			}
			logins := float64(n) / time.Since(start).Seconds()
			at := (resident(d.pid()) - memory) / float64(n) / 1024
			time.Sleep(calm)
			each := (resident(d.pid()) - memory) / float64(n) / 1024
			filesEach := (descriptors(d.pid()) - files) / float64(n)
			cpu := cpuTime(d.pid())
			time.Sleep(restTime)
			rest := (cpuTime(d.pid()) - cpu) / restTime.Seconds() * 100
			rate, err := m.clients(ctx, c, 8, func(conn *sql.Conn) (func() error, error) { return pointSelect(ctx, conn, "prepared") })
			if err != nil {
				return nil, err
			}
			leave()
			for end := time.Now().Add(20 * time.Second); descriptors(d.pid()) > files && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			return []float64{at, each, filesEach, rest, logins, rate, descriptors(d.pid()) - files}, nil
		},
	}
}

// enter opens n sessions, 16 at a time. leave closes them, and is there also with
// an error.
func (m *mysql) enter(ctx context.Context, c contender, n int) (leave func(), err error) {
	connector, err := driver.NewConnector(m.config(c))
	if err != nil {
		return func() {}, err
	}
	var mu sync.Mutex
	var open []interface{ Close() error }
	var failed error
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for {
				mu.Lock()
				enough := len(open) >= n || failed != nil
				mu.Unlock()
				if enough {
					return
				}
				conn, err := connector.Connect(ctx)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					open = append(open, conn)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return func() {
		for _, conn := range open {
			_ = conn.Close()
		}
		open = nil
	}, failed
}

// firstLogin starts credproxy and logs in as soon as it listens.
func (m *mysql) firstLogin() measurement {
	one := func(figure, unit string) metric {
		return metric{Case: "start", Name: figure, Unit: unit, Lower: true, Absolute: true}
	}
	return measurement{
		metrics: []metric{one("until it listens", "ms"), one("until the first login", "ms"), one("its own processor time till then", "ms"),
			one("resident memory", "MB"), one("binary", "MB")},
		run: func(ctx context.Context, _ contender) ([]float64, error) {
			start := time.Now()
			d, addr, err := startCredproxy(m.o.binary, "mysql", m.server.Port, m.server.CAFile, false)
			if err != nil {
				return nil, err
			}
			defer d.stop()
			listens := time.Since(start)
			connector, err := driver.NewConnector(m.config(contender{name: "credproxy", addr: addr, pid: d.pid()}))
			if err != nil {
				return nil, err
			}
			conn, err := connector.Connect(ctx)
			if err != nil {
				return nil, err
			}
			first := time.Since(start)
			_ = conn.Close()
			own := cpuTime(d.pid())
			binary, err := os.Stat(m.o.binary)
			if err != nil {
				return nil, err
			}
			return []float64{float64(listens) / 1e6, float64(first) / 1e6, own * 1000, resident(d.pid()) / 1e6, float64(binary.Size()) / 1e6}, nil
		},
	}
}
